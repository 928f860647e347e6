// A page image of a WAL record as the page that it was: decompressed, with its hole
// (src/backend/access/transam/xlogreader.c, RestoreBlockImage).
//
// Pure; any thread.
#pragma once

#include <cstdint>

#include "pg/wal/wal_record.h"
#include "util/bytes.h"
#include "util/result.h"

namespace lifeboat::pg {

// `damaged`: the block has no image, or one that does not make a page of `page_size` bytes.
Result<Bytes> restore_page_image(const WalBlock& block, uint32_t page_size);

// PostgreSQL's own compression (src/common/pg_lzcompress.c). `damaged` unless `stored` makes exactly
// `plain_size` bytes. Safe on any bytes.
Result<Bytes> pglz_decompress(ByteView stored, size_t plain_size);

}  // namespace lifeboat::pg
