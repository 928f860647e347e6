#include "repo/summary_store.h"

#include "util/strings.h"

namespace lifeboat::repo {

namespace {

constexpr std::string_view kRoot = "summaries/";
constexpr std::string_view kWalRoot = "wal/";

}  // namespace

std::string summary_object_name(const WalFileName& segment, const codec::Hash128& name_hash) {
  return cat(kRoot, wal_object_name(segment, name_hash).substr(kWalRoot.size()));
}

std::optional<WalObject> parse_summary_object_name(std::string_view below) {
  if (!below.starts_with(kRoot)) return std::nullopt;
  auto object = parse_wal_object_name(cat(kWalRoot, below.substr(kRoot.size())));
  if (!object || object->file.kind != WalFileKind::segment) return std::nullopt;
  object->object = below;
  return object;
}

Status SummaryStore::put(const WalObject& segment, ByteView summary) const {
  auto stored = repo_.put(ObjectKind::summary, summary_object_name(segment.file, segment.name_hash), summary);
  // Whoever was faster summarised the same bytes.
  if (!stored && stored.error().kind == ErrorKind::conflict) return {};
  return stored;
}

Result<std::optional<Bytes>> SummaryStore::get(const WalObject& segment, uint64_t size_limit) const {
  auto bytes =
      repo_.get(ObjectKind::summary, summary_object_name(segment.file, segment.name_hash), size_limit);
  if (bytes) return std::optional<Bytes>(std::move(*bytes));
  if (bytes.error().kind == ErrorKind::not_found) return std::optional<Bytes>();
  return std::move(bytes).error();
}

Result<std::vector<Timeline>> SummaryStore::timelines() const {
  return list_wal_timelines(repo_, kRoot);
}

Status SummaryStore::list(Timeline timeline, const WalStore::Range& range,
                          const std::function<Status(const WalObject&)>& each) const {
  return list_by_segment(repo_, kRoot, timeline, range, each);
}

}  // namespace lifeboat::repo
