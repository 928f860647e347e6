#include "repo/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "repo/json_text.h"
#include "util/strings.h"

namespace lifeboat::repo {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr uint64_t kCardLimit = 1 << 20;
constexpr uint64_t kManifestLimit = 256 << 20;
constexpr int kManifestFormat = 1;

std::optional<BackupState> parse_state(std::string_view text) {
  for (auto state : {BackupState::complete, BackupState::damaged, BackupState::aborted}) {
    if (text == to_string(state)) return state;
  }
  return std::nullopt;
}

ordered_json ids_json(const std::vector<BackupId>& ids) {
  ordered_json array = ordered_json::array();
  for (const BackupId& id : ids) array.push_back(id.text);
  return array;
}

ordered_json card_json(const Card& card) {
  ordered_json out = {{"id", card.id.text},
                      {"state", to_string(card.state)},
                      {"type", to_string(card.type)},
                      {"reason", pack_text(card.reason)},
                      {"reference", card.reference ? card.reference->text : ""},
                      {"continued", ids_json(card.continued)},
                      {"label", pack_text(card.label)},
                      {"started_us", card.started.unix_us},
                      {"stopped_us", card.stopped.unix_us},
                      {"start_lsn", card.start_lsn.to_string()},
                      {"stop_lsn", card.stop_lsn.to_string()},
                      {"timeline", card.timeline.value},
                      {"server_version_num", card.server_version_num},
                      {"from_standby", card.from_standby},
                      {"data_checksums", card.data_checksums},
                      {"encrypted", card.encrypted},
                      {"key_id", card.key_id},
                      {"compression", card.compression},
                      {"host", card.host},
                      {"tool_version", card.tool_version},
                      {"databases", card.databases},
                      {"tables", card.tables},
                      {"estimated_rows", card.estimated_rows},
                      {"broken_pages", card.broken_pages},
                      {"files", card.totals.files},
                      {"directories", card.totals.directories},
                      {"plain_bytes", card.totals.plain_bytes},
                      {"read_bytes", card.totals.read_bytes},
                      {"stored_bytes", card.totals.stored_bytes},
                      {"pages_checked", card.totals.pages_checked},
                      {"seconds", card.totals.seconds}};
  if (card.dump) out["dump"] = dump_summary_json(*card.dump);
  return out;
}

// Throws json::exception on a field of another type; the callers turn that into `damaged`.
Card card_from(const json& from) {
  Card card;
  auto id = BackupId::parse(from.at("id").get<std::string>());
  auto state = parse_state(from.at("state").get<std::string>());
  auto type = parse_backup_type(from.at("type").get<std::string>());
  auto start = Lsn::parse(from.at("start_lsn").get<std::string>());
  auto stop = Lsn::parse(from.at("stop_lsn").get<std::string>());
  if (!id || !state || !type || !start || !stop) throw json::other_error::create(501, "bad value", nullptr);
  card.id = *id;
  card.state = *state;
  card.type = *type;
  card.start_lsn = *start;
  card.stop_lsn = *stop;
  card.reason = unpack_text(from.at("reason").get<std::string>());
  card.reference = BackupId::parse(from.value("reference", ""));
  if (from.contains("continued")) {
    for (const json& text : from.at("continued")) {
      auto attempt = BackupId::parse(text.get<std::string>());
      if (!attempt) throw json::other_error::create(501, "bad value", nullptr);
      card.continued.push_back(*attempt);
    }
  }
  card.label = unpack_text(from.at("label").get<std::string>());
  card.started = {from.at("started_us").get<int64_t>()};
  card.stopped = {from.at("stopped_us").get<int64_t>()};
  card.timeline = {from.at("timeline").get<uint32_t>()};
  card.server_version_num = from.at("server_version_num").get<int>();
  card.from_standby = from.at("from_standby").get<bool>();
  card.data_checksums = from.at("data_checksums").get<bool>();
  card.encrypted = from.at("encrypted").get<bool>();
  card.key_id = from.at("key_id").get<uint32_t>();
  card.compression = from.at("compression").get<std::string>();
  card.host = from.at("host").get<std::string>();
  card.tool_version = from.at("tool_version").get<std::string>();
  card.databases = from.at("databases").get<uint64_t>();
  card.tables = from.at("tables").get<uint64_t>();
  card.estimated_rows = from.at("estimated_rows").get<int64_t>();
  card.broken_pages = from.at("broken_pages").get<uint64_t>();
  card.totals.files = from.at("files").get<uint64_t>();
  card.totals.directories = from.at("directories").get<uint64_t>();
  card.totals.plain_bytes = from.at("plain_bytes").get<uint64_t>();
  card.totals.read_bytes = from.at("read_bytes").get<uint64_t>();
  card.totals.stored_bytes = from.at("stored_bytes").get<uint64_t>();
  card.totals.pages_checked = from.at("pages_checked").get<uint64_t>();
  card.totals.seconds = from.at("seconds").get<double>();
  if (from.contains("dump")) card.dump = dump_summary_from(from.at("dump"));
  return card;
}

ordered_json node_json(const NodeRef& node) {
  return {{"backup", node.frame.pack.backup.text}, {"pack", node.frame.pack.number},
          {"frame", node.frame.place.number},      {"offset", node.frame.place.offset},
          {"length", node.frame.place.length},     {"xxh3", to_hex(node.hash)}};
}

NodeRef node_from(const json& from) {
  NodeRef node;
  auto backup = BackupId::parse(from.at("backup").get<std::string>());
  auto hash = from_hex(from.at("xxh3").get<std::string>());
  if (!backup || !hash || hash->size() != node.hash.size())
    throw json::other_error::create(501, "bad root", nullptr);
  node.frame.pack = {*backup, from.at("pack").get<uint32_t>()};
  node.frame.place = {from.at("frame").get<uint32_t>(), from.at("offset").get<uint64_t>(),
                      from.at("length").get<uint32_t>()};
  std::copy(hash->begin(), hash->end(), node.hash.begin());
  return node;
}

ordered_json change_json(const ChangeCount& change) {
  return {{"path", pack_text(change.path)},  {"name", pack_text(change.name)},
          {"files", change.files},           {"plain_bytes", change.plain_bytes},
          {"read_bytes", change.read_bytes}, {"new_bytes", change.new_bytes}};
}

ChangeCount change_from(const json& from) {
  return {unpack_text(from.at("path").get<std::string>()),
          unpack_text(from.at("name").get<std::string>()),
          from.at("files").get<uint64_t>(),
          from.at("plain_bytes").get<uint64_t>(),
          from.at("read_bytes").get<uint64_t>(),
          from.at("new_bytes").get<uint64_t>()};
}

template <typename T, typename F>
ordered_json array_json(const std::vector<T>& items, F&& one) {
  ordered_json array = ordered_json::array();
  for (const T& item : items) array.push_back(one(item));
  return array;
}

template <typename T, typename F>
std::vector<T> array_from(const json& from, F&& one) {
  std::vector<T> items;
  for (const json& item : from) items.push_back(one(item));
  return items;
}

}  // namespace

std::string_view to_string(BackupState state) {
  switch (state) {
    case BackupState::complete:
      return "complete";
    case BackupState::damaged:
      return "damaged";
    case BackupState::aborted:
      return "aborted";
  }
  return "?";
}

std::string encode_card(const Card& card) {
  return card_json(card).dump();
}

Result<Card> decode_card(std::string_view object, ByteView plain) {
  try {
    return card_from(json::parse(as_text(plain)));
  } catch (const json::exception& problem) {
    return make_error(ErrorKind::damaged, std::string(object), "not a card").with_cause(problem.what());
  }
}

std::string encode_manifest(const Manifest& m) {
  ordered_json out = {{"format", kManifestFormat}, {"card", card_json(m.card)}, {"lease", m.lease_sequence}};
  out["root"] = node_json(m.root);
  if (m.usage) out["usage"] = node_json(*m.usage);
  out["block_size"] = m.block_size;
  out["segment_size"] = m.segment_size.bytes;
  out["catalog_version"] = m.catalog_version;
  out["start_timeline"] = m.start_timeline.value;
  out["backup_label"] = pack_text(m.backup_label);
  out["tablespace_map"] = pack_text(m.tablespace_map);
  out["data_directory"] = pack_text(m.data_directory);
  out["owner"] = m.owner;
  out["group"] = m.group;
  out["tablespaces"] = array_json(m.tablespaces, [](const TablespaceInfo& t) -> ordered_json {
    return {{"oid", t.oid},
            {"name", pack_text(t.name)},
            {"location", pack_text(t.location)},
            {"in_place", t.in_place},
            {"bytes", t.bytes}};
  });
  out["databases"] = array_json(m.databases, [](const DatabaseInfo& d) -> ordered_json {
    return {{"oid", d.oid},
            {"name", pack_text(d.name)},
            {"bytes", d.bytes},
            {"relations", d.relations},
            {"estimated_rows", d.estimated_rows}};
  });
  out["tables"] = array_json(m.tables, [](const TableEstimate& t) -> ordered_json {
    return {{"database", pack_text(t.database)},
            {"schema", pack_text(t.schema)},
            {"table", pack_text(t.table)},
            {"reltuples", t.reltuples},
            {"relpages", t.relpages},
            {"inserted", t.inserted},
            {"updated", t.updated},
            {"deleted", t.deleted}};
  });
  out["external_files"] = array_json(m.external_files, [](const ExternalFile& f) -> ordered_json {
    return {{"path", pack_text(f.path)}, {"entry", f.entry}, {"setting", f.setting}};
  });
  out["settings"] = array_json(m.settings, [](const Setting& s) -> ordered_json {
    return {{"name", s.name}, {"value", pack_text(s.value)}};
  });
  out["extensions"] =
      array_json(m.extensions, [](const std::string& e) -> ordered_json { return pack_text(e); });
  out["changed_directories"] = array_json(m.changed_directories, change_json);
  out["changed_relations"] = array_json(m.changed_relations, change_json);
  out["broken_pages"] = array_json(m.broken_pages, [](const BrokenPage& p) -> ordered_json {
    return {{"path", pack_text(p.path)}, {"block", p.block}, {"problem", p.problem}};
  });
  if (m.dump) out["dump"] = dump_record_json(*m.dump);
  return out.dump();
}

Result<Manifest> decode_manifest(std::string_view object, ByteView plain) {
  auto text = [](const json& from, const char* key) { return unpack_text(from.at(key).get<std::string>()); };
  try {
    json in = json::parse(as_text(plain));
    if (in.at("format").get<int>() != kManifestFormat) {
      return make_error(ErrorKind::unsupported, std::string(object), "unknown manifest format");
    }
    Manifest m;
    m.card = card_from(in.at("card"));
    m.lease_sequence = in.at("lease").get<uint64_t>();
    m.root = node_from(in.at("root"));
    if (in.contains("usage")) m.usage = node_from(in.at("usage"));
    m.block_size = in.at("block_size").get<uint32_t>();
    m.segment_size = {in.at("segment_size").get<uint32_t>()};
    if (!SegmentSize::valid(m.segment_size.bytes) || m.block_size == 0) {
      return make_error(ErrorKind::damaged, std::string(object), "impossible sizes");
    }
    m.catalog_version = in.at("catalog_version").get<uint32_t>();
    m.start_timeline = {in.at("start_timeline").get<uint32_t>()};
    m.backup_label = text(in, "backup_label");
    m.tablespace_map = text(in, "tablespace_map");
    m.data_directory = text(in, "data_directory");
    m.owner = in.at("owner").get<std::string>();
    m.group = in.at("group").get<std::string>();
    m.tablespaces = array_from<TablespaceInfo>(in.at("tablespaces"), [&](const json& t) {
      return TablespaceInfo{t.at("oid").get<Oid>(), text(t, "name"), text(t, "location"),
                            t.at("in_place").get<bool>(), t.at("bytes").get<uint64_t>()};
    });
    m.databases = array_from<DatabaseInfo>(in.at("databases"), [&](const json& d) {
      return DatabaseInfo{d.at("oid").get<Oid>(), text(d, "name"), d.at("bytes").get<uint64_t>(),
                          d.at("relations").get<uint64_t>(), d.at("estimated_rows").get<int64_t>()};
    });
    m.tables = array_from<TableEstimate>(in.at("tables"), [&](const json& t) {
      return TableEstimate{text(t, "database"),
                           text(t, "schema"),
                           text(t, "table"),
                           t.at("reltuples").get<int64_t>(),
                           t.at("relpages").get<int64_t>(),
                           t.at("inserted").get<int64_t>(),
                           t.at("updated").get<int64_t>(),
                           t.at("deleted").get<int64_t>()};
    });
    m.external_files = array_from<ExternalFile>(in.at("external_files"), [&](const json& f) {
      return ExternalFile{text(f, "path"), f.at("entry").get<std::string>(),
                          f.at("setting").get<std::string>()};
    });
    m.settings = array_from<Setting>(in.at("settings"), [&](const json& s) {
      return Setting{s.at("name").get<std::string>(), text(s, "value")};
    });
    m.extensions = array_from<std::string>(in.at("extensions"),
                                           [](const json& e) { return unpack_text(e.get<std::string>()); });
    m.broken_pages = array_from<BrokenPage>(in.at("broken_pages"), [&](const json& p) {
      return BrokenPage{text(p, "path"), p.at("block").get<uint64_t>(), p.at("problem").get<std::string>()};
    });
    if (in.contains("dump")) m.dump = dump_record_from(in.at("dump"));
    if (in.contains("changed_directories"))
      m.changed_directories = array_from<ChangeCount>(in["changed_directories"], change_from);
    if (in.contains("changed_relations"))
      m.changed_relations = array_from<ChangeCount>(in["changed_relations"], change_from);
    return m;
  } catch (const json::exception& problem) {
    return make_error(ErrorKind::damaged, std::string(object), "not a manifest").with_cause(problem.what());
  }
}

Status write_manifest(const LineageRepo& repo, const Manifest& manifest) {
  return repo.put(ObjectKind::manifest, cat("manifests/", manifest.card.id.text),
                  as_bytes(encode_manifest(manifest)));
}

Status write_card(const LineageRepo& repo, const Card& card) {
  return repo.put(ObjectKind::card, cat("cards/", card.id.text), as_bytes(encode_card(card)));
}

Result<Manifest> read_manifest(const LineageRepo& repo, const BackupId& id) {
  std::string below = cat("manifests/", id.text);
  TRY_ASSIGN(Bytes plain, repo.get(ObjectKind::manifest, below, kManifestLimit));
  TRY_ASSIGN(Manifest manifest, decode_manifest(repo.name(below), plain));
  if (manifest.card.id != id) return make_error(ErrorKind::damaged, repo.name(below), "names another backup");
  return manifest;
}

Result<Card> read_card(const LineageRepo& repo, const BackupId& id) {
  std::string below = cat("cards/", id.text);
  TRY_ASSIGN(Bytes plain, repo.get(ObjectKind::card, below, kCardLimit));
  TRY_ASSIGN(Card card, decode_card(repo.name(below), plain));
  if (card.id != id) return make_error(ErrorKind::damaged, repo.name(below), "names another backup");
  return card;
}

Result<std::vector<Card>> read_cards(const LineageRepo& repo) {
  std::vector<BackupId> ids;
  std::string prefix = repo.name("cards/");
  TRY(repo.store().list(prefix, [&](const storage::ObjectInfo& object) -> Status {
    auto id = BackupId::parse(std::string_view(object.name).substr(prefix.size()));
    if (!id) return make_error(ErrorKind::damaged, object.name, "not the name of a card");
    ids.push_back(*id);
    return {};
  }));
  std::vector<Card> cards;
  for (const BackupId& id : ids) {
    auto card = read_card(repo, id);
    if (!card && card.error().kind == ErrorKind::not_found) continue;  // expired since the listing
    TRY(card);
    cards.push_back(std::move(*card));
  }
  std::sort(cards.begin(), cards.end(), [](const Card& a, const Card& b) {
    return std::pair(a.started, a.id) < std::pair(b.started, b.id);
  });
  return cards;
}

}  // namespace lifeboat::repo
