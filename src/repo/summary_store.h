// Change summaries: small objects beside the WAL segments, from which they can be made again at any time.
//
//   summaries/<timeline>/<log id>/<segment>-<name hash>     kind 11
//
// A summary has the name of the WAL object that it was made from, so that one of another content is never
// taken for it. What the bytes mean is pg's to know (pg/wal/segment_summary.h). A summary that is missing or
// damaged costs reading its segment, and nothing else: nobody waits for one, and expiry removes them with
// their segments.
//
// Thread rule: const, stateless but for the repository; any thread.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "repo/wal_store.h"

namespace lifeboat::repo {

class SummaryStore {
 public:
  explicit SummaryStore(const LineageRepo& repo) : repo_(repo) {}

  // Durably stored on success, and so it is when one is there already. `segment` is the object of a whole
  // segment.
  Status put(const WalObject& segment, ByteView summary) const;
  // nullopt: there is none. `damaged` and the store's otherwise.
  Result<std::optional<Bytes>> get(const WalObject& segment, uint64_t size_limit) const;

  Result<std::vector<Timeline>> timelines() const;  // ascending
  // In order of names; `object` is the summary's own name, the rest as of the segment's object.
  Status list(Timeline timeline, const WalStore::Range& range,
              const std::function<Status(const WalObject&)>& each) const;

 private:
  LineageRepo repo_;
};

// Name below the lineage.
std::string summary_object_name(const WalFileName& segment, const codec::Hash128& name_hash);
// nullopt: not the name of a change summary.
std::optional<WalObject> parse_summary_object_name(std::string_view below);

}  // namespace lifeboat::repo
