#include "repo/repository.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "util/clock.h"
#include "util/strings.h"

namespace lifeboat::repo {

namespace {
constexpr std::string_view kMarkerName = "lifeboat.json";
constexpr uint64_t kMarkerLimit = 64 << 10;
constexpr uint64_t kLineageLimit = 64 << 10;
constexpr int kFormat = 1;

Result<std::vector<std::string>> slot_objects(storage::Store& store) {
  std::vector<std::string> names;
  TRY(store.list("keys/", [&](const storage::ObjectInfo& object) -> Status {
    names.push_back(object.name);
    return {};
  }));
  return names;
}

Error key_missing(const storage::Store& store) {
  return make_error(ErrorKind::wrong_key, store.url(), "the repository is encrypted and no key was given")
      .with_hint("add --key-file FILE or --passphrase-file FILE");
}
}  // namespace

Result<Repository> Repository::create(std::unique_ptr<storage::Store> store, const KeySource& source,
                                      CompressionOptions compression) {
  TRY_ASSIGN(bool exists, store->exists(kMarkerName));
  if (exists) return make_error(ErrorKind::conflict, store->url(), "a repository is there already");
  // Without a marker nothing was ever sealed, so whatever slots there are belong to no repository. But
  // somebody may be about to write the marker for one of them: only who has written it knows that the others
  // are idle.
  TRY_ASSIGN(std::vector<std::string> idle, slot_objects(*store));
  NewKeys made;
  if (source.kind != KeySourceKind::none) {
    TRY_ASSIGN(made, create_keys(*store, source));
  }
  const Keyring& keys = made.keys;
  uint8_t id[16];
  codec::random_bytes(id);
  Marker marker{to_hex(id), keys.encrypted(), keys.check(), compression, {Clock::system().unix_us()}};
  nlohmann::ordered_json json = {{"format", kFormat},
                                 {"repository_id", marker.repository_id},
                                 {"encrypted", marker.encrypted},
                                 {"key_check", marker.key_check},
                                 {"compression", codec::to_string(compression.compression)},
                                 {"level", compression.level},
                                 {"created_us", marker.created.unix_us}};
  if (Status written = store->put(kMarkerName, as_bytes(with_check_line(json.dump()))); !written) {
    // After any other error the marker may be there all the same, and need the slot.
    if (written.error().kind == ErrorKind::conflict && !made.slot.empty()) TRY(store->remove(made.slot));
    return std::move(written).error();
  }
  for (const std::string& slot : idle) TRY(store->remove(slot));
  return Repository(std::move(store), std::move(made.keys), std::move(marker));
}

Result<Marker> Repository::read_marker(storage::Store& store) {
  auto content = store.get(kMarkerName, kMarkerLimit);
  if (!content && content.error().kind == ErrorKind::not_found) {
    return make_error(ErrorKind::not_found, store.url(), "there is no repository here")
        .with_hint("make one with lifeboat init");
  }
  TRY(content);
  TRY_ASSIGN(std::string text, strip_check_line(kMarkerName, *content));
  auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object())
    return make_error(ErrorKind::damaged, std::string(kMarkerName), "not a repository marker");
  int format = json.value("format", 0);
  if (format != kFormat) {
    return make_error(ErrorKind::unsupported, store.url(),
                      cat("repository format ", format, ", this program reads ", kFormat));
  }
  Marker marker;
  marker.repository_id = json.value("repository_id", "");
  marker.encrypted = json.value("encrypted", false);
  marker.key_check = json.value("key_check", "");
  TRY_ASSIGN(marker.compression.compression, codec::parse_compression(json.value("compression", "zstd")));
  marker.compression.level = json.value("level", 1);
  marker.created = {json.value("created_us", int64_t{0})};
  return marker;
}

Result<Repository> Repository::open(std::unique_ptr<storage::Store> store, const KeySource& source) {
  TRY_ASSIGN(Marker marker, read_marker(*store));
  if (!marker.encrypted) {
    if (source.kind != KeySourceKind::none) {
      return make_error(ErrorKind::wrong_key, store->url(),
                        "a key was given, but this repository is not encrypted");
    }
    return Repository(std::move(store), Keyring(), std::move(marker));
  }
  if (source.kind == KeySourceKind::none) return key_missing(*store);
  TRY_ASSIGN(Keyring keys, open_keys(*store, source, marker.key_check));
  return Repository(std::move(store), std::move(keys), std::move(marker));
}

LineageRepo::LineageRepo(const Repository& repository, std::string cluster, Lineage lineage)
    : repository_(&repository),
      cluster_(std::move(cluster)),
      lineage_(lineage),
      prefix_(cat("clusters/", cluster_, "/", lineage.to_string(), "/")) {}

LineageRepo LineageRepo::dumps() const {
  LineageRepo below = *this;
  below.prefix_ += kDumpsFolder;
  return below;
}

std::string LineageRepo::name(std::string_view below) const {
  return cat(prefix_, below);
}

Status LineageRepo::put(ObjectKind kind, std::string_view below, ByteView plain) const {
  return put_object(store(), keys(), kind, name(below), plain, compression());
}

Result<Bytes> LineageRepo::get(ObjectKind kind, std::string_view below, uint64_t size_limit) const {
  return get_object(store(), keys(), kind, name(below), size_limit);
}

Status register_lineage(const LineageRepo& repo, const LineageRecord& record) {
  nlohmann::ordered_json json = {{"system_id", record.lineage.system_id.to_string()},
                                 {"major", record.lineage.major},
                                 {"catalog_version", record.catalog_version},
                                 {"segment_size", record.segment_size.bytes},
                                 {"block_size", record.block_size},
                                 {"registered_us", record.registered.unix_us},
                                 {"registered_by", record.registered_by}};
  return repo.put(ObjectKind::lineage, "lineage", as_bytes(json.dump()));
}

namespace {
Result<LineageRecord> read_lineage(const LineageRepo& repo) {
  TRY_ASSIGN(Bytes content, repo.get(ObjectKind::lineage, "lineage", kLineageLimit));
  auto json = nlohmann::json::parse(as_text(content), nullptr, false);
  LineageRecord record;
  record.lineage = repo.lineage();
  if (!json.is_object() || !SegmentSize::valid(json.value("segment_size", uint64_t{0}))) {
    return make_error(ErrorKind::damaged, repo.name("lineage"), "not a lineage record");
  }
  record.catalog_version = json.value("catalog_version", uint32_t{0});
  record.segment_size = {json.value("segment_size", uint32_t{0})};
  record.block_size = json.value("block_size", uint32_t{8192});
  record.registered = {json.value("registered_us", int64_t{0})};
  record.registered_by = json.value("registered_by", "");
  return record;
}
}  // namespace

Result<std::vector<LineageRecord>> list_lineages(const Repository& repository, std::string_view cluster) {
  std::vector<LineageRecord> records;
  std::string prefix = cat("clusters/", cluster, "/");
  TRY_ASSIGN(std::vector<std::string> names, repository.store().list_dirs(prefix));
  for (const std::string& name : names) {
    auto lineage = Lineage::parse(name);
    if (!lineage) continue;
    auto record = read_lineage(LineageRepo(repository, std::string(cluster), *lineage));
    if (!record && record.error().kind == ErrorKind::not_found)
      continue;  // a registration that never finished
    TRY(record);
    records.push_back(std::move(*record));
  }
  std::sort(records.begin(), records.end(),
            [](const LineageRecord& a, const LineageRecord& b) { return a.registered < b.registered; });
  return records;
}

Result<std::vector<std::string>> list_clusters(const Repository& repository) {
  return repository.store().list_dirs("clusters/");
}

Result<LineageRecord> require_lineage(const LineageRepo& repo) {
  auto record = read_lineage(repo);
  if (record || record.error().kind != ErrorKind::not_found) return record;
  TRY_ASSIGN(auto known, list_lineages(repo.repository(), repo.cluster()));
  if (known.empty()) {
    return make_error(ErrorKind::not_found, cat("cluster ", repo.cluster()),
                      cat("not registered in ", repo.store().url()))
        .with_hint("register it with lifeboat init");
  }
  return make_error(
             ErrorKind::foreign, cat("cluster ", repo.cluster()),
             cat("system identifier ", repo.lineage().system_id.to_string(), " of PostgreSQL ",
                 repo.lineage().major, " is not registered; the repository knows ",
                 known.back().lineage.system_id.to_string(), " of PostgreSQL ", known.back().lineage.major))
      .with_hint(
          "after pg_upgrade or a new initdb run lifeboat init --new-lineage; otherwise this is another "
          "cluster");
}

}  // namespace lifeboat::repo
