// Data pages: header, checksum, emptiness (src/include/storage/bufpage.h and checksum_impl.h, PostgreSQL 13
// to 18).
//
// Pages are 1, 2, 4, 8, 16 or 32 kB (a build option of the server, pg_control tells). Functions are pure and
// safe in any thread; addresses need no alignment.
#pragma once

#include <cstdint>
#include <string_view>

#include "model/lsn.h"
#include "util/bytes.h"

namespace lifeboat::pg {

inline constexpr size_t kPageHeaderSize = 24;  // SizeOfPageHeaderData

// PageHeaderData. Offsets: 0 pd_lsn (two 32-bit halves, high first), 8 pd_checksum, 10 pd_flags, 12 pd_lower,
// 14 pd_upper, 16 pd_special, 18 pd_pagesize_version, 20 pd_prune_xid.
struct PageHeader {
  Lsn lsn;
  uint16_t checksum = 0;
  uint16_t flags = 0;
  uint16_t lower = 0;
  uint16_t upper = 0;  // 0: a new page, which must then be all zeros
  uint16_t special = 0;
  uint16_t size = 0;  // bytes of the page; its layout version is in the low byte of the same field
  uint8_t layout_version = 0;
};
// `page` has at least kPageHeaderSize bytes (CHECKed).
PageHeader read_page_header(ByteView page);
// Only pd_lsn; `page` has at least 8 bytes (CHECKed).
Lsn page_lsn(ByteView page);

bool is_all_zero(ByteView bytes);

// True for the sizes that the server can be built with.
bool valid_page_size(size_t bytes);

// pg_checksum_page: what pd_checksum must be for this page at `block_number` of its relation fork (counted
// over all segment files), whatever is in the field now. `page.size()` is a valid page size (CHECKed).
uint16_t page_checksum(ByteView page, uint32_t block_number);

enum class PageState : uint8_t {
  ok,            // header plausible and checksum right
  zero,          // all zeros: a page that was added and never written; valid
  bad_header,    // header fields contradict each other (PageIsVerified would refuse the page)
  bad_checksum,  // torn while being written, or damaged (T06)
};
std::string_view to_string(PageState state);

// For clusters with data checksums. CHECKs the page size.
PageState verify_page(ByteView page, uint32_t block_number);
// For clusters without: ok, zero or bad_header.
PageState verify_page_header(ByteView page);

}  // namespace lifeboat::pg
