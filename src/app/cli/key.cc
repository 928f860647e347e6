// lifeboat key list|add|check: the slots that open an encrypted repository.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/invocation.h"
#include "app/location.h"
#include "app/options.h"
#include "app/output.h"
#include "app/render.h"
#include "ops/init/keys.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

using Json = nlohmann::ordered_json;

Json slot_json(const repo::SlotInfo& slot) {
  return {{"key_id", slot.key_id}, {"slot", slot.slot}, {"kind", slot.kind}};
}

Result<int> list_keys(const Invocation& invocation) {
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  TRY_ASSIGN(auto store, ops::open_store(where, storage::StoreMode::existing));
  TRY_ASSIGN(repo::Marker marker, repo::Repository::read_marker(*store));
  TRY_ASSIGN(auto slots, repo::list_slots(*store));
  // Listing needs no key; with one it is also told which slots it opens.
  std::vector<repo::SlotInfo> opened;
  bool asked = where.key.kind != repo::KeySourceKind::none;
  if (asked) {
    TRY_ASSIGN(opened, repo::slots_opened_by(*store, where.key, marker.key_check));
  }
  Json list = Json::array();
  Table table({{"key", Align::right}, {"slot"}, {"kind"}, {asked ? "opens with the key given" : ""}});
  for (const repo::SlotInfo& slot : slots) {
    bool opens = std::ranges::find(opened, slot.slot, &repo::SlotInfo::slot) != opened.end();
    Json json = slot_json(slot);
    if (asked) json["opens"] = opens;
    list.push_back(std::move(json));
    table.add({std::to_string(slot.key_id), slot.slot, slot.kind, !asked ? "" : opens ? "yes" : "no"});
  }
  invocation.output().text(marker.encrypted ? table.to_string()
                                            : std::string("the repository is not encrypted\n"));
  invocation.output().document(
      to_json_text(Json{{"repository", where.url}, {"encrypted", marker.encrypted}, {"slots", list}}));
  return 0;
}

Result<int> add_key(const Invocation& invocation) {
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  repo::KeySource added;
  if (auto file = invocation.text("new-key-file")) {
    added = {repo::KeySourceKind::key_file, *file};
  } else if (auto passphrase = invocation.text("new-passphrase-file")) {
    added = {repo::KeySourceKind::passphrase_file, *passphrase};
  } else {
    return make_error(ErrorKind::usage, "lifeboat key add",
                      "neither --new-key-file nor --new-passphrase-file was given");
  }
  TRY_ASSIGN(ops::AddedKey outcome, ops::add_key(where, added));
  invocation.output().text(cat("slot ", outcome.slot.slot, " opens the repository with ", added.path,
                               outcome.generated ? ", which was generated" : "", "\n"));
  Json json = slot_json(outcome.slot);
  json["generated"] = outcome.generated;
  json["path"] = added.path;
  invocation.output().document(to_json_text(json));
  return 0;
}

Result<int> check_key(const Invocation& invocation) {
  TRY_ASSIGN(ops::RepoLocation where, repo_location(invocation));
  TRY_ASSIGN(ops::KeyCheck check, ops::check_key(where));
  Json slots = Json::array();
  std::string text;
  for (const auto& slot : check.slots) {
    Json json = slot_json(slot.info);
    json["opens"] = slot.opens;
    slots.push_back(std::move(json));
    text += cat("slot ", slot.info.slot, ": ", slot.opens ? "opens" : "does not open with this key", "\n");
  }
  if (check.slots.empty()) text += "the repository is not encrypted: it needs no key\n";
  Json proofs = Json::array();
  for (const auto& proof : check.proofs) {
    proofs.push_back({{"cluster", proof.cluster}, {"lineage", proof.lineage}, {"read", proof.read}});
    text += cat("cluster ", proof.cluster, ", lineage ", proof.lineage, ": read ",
                counted(proof.read.size(), "object"), " ",
                check.slots.empty() ? "without a key" : "with nothing but this key", "\n");
  }
  invocation.output().text(text);
  invocation.output().document(
      to_json_text(Json{{"repository", where.url}, {"slots", slots}, {"proofs", proofs}}));
  return 0;
}

constexpr Option kAddOptions[] = {
    {.name = "new-key-file",
     .kind = ValueKind::path,
     .placeholder = "FILE",
     .help = "add a slot for this key file; it is generated when it does not exist",
     .excludes = "new-passphrase-file"},
    {.name = "new-passphrase-file",
     .kind = ValueKind::path,
     .placeholder = "FILE",
     .help = "add a slot for the passphrase in this file (slow to try, for escrow)"},
};
constinit const OptionGroup kAddGroup = {"New key", kAddOptions};

}  // namespace

extern const Command kKeyListCommand;
constinit const Command kKeyListCommand = {
    .path = "key list",
    .summary = "list the key slots of a repository",
    .description =
        "Lists the slots of an encrypted repository: which kinds of key open it. Needs no key; with "
        "--key-file or "
        "--passphrase-file it tells which slots that one opens.",
    .danger = Danger::read,
    .groups = {&kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples = "lifeboat key list --repo /srv/backup",
    .schema = R"({
  "type": "object",
  "properties": {
    "repository": {"type": "string"},
    "encrypted": {"type": "boolean"},
    "slots": {"type": "array", "items": {"type": "object", "required": ["key_id", "slot", "kind"], "properties": {
      "key_id": {"type": "integer"}, "slot": {"type": "string"}, "kind": {"type": "string"}, "opens": {"type": "boolean"}}}}
  }
})",
    .handler = list_keys,
};

extern const Command kKeyAddCommand;
constinit const Command kKeyAddCommand = {
    .path = "key add",
    .summary = "let one more key open a repository",
    .description =
        "Wraps the repository's keys under one more key file or passphrase, given the present one. Keep one "
        "away "
        "from the database's host: a restore must be possible when that host is gone. A slot that is added "
        "does "
        "not change what is stored, and old slots go on working.",
    .danger = Danger::write,
    .groups = {&kAddGroup, &kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples =
        "lifeboat key add --repo /srv/backup --key-file /etc/lifeboat/main.key --new-passphrase-file "
        "/root/escrow",
    .schema = R"({
  "type": "object",
  "properties": {
    "key_id": {"type": "integer"},
    "slot": {"type": "string"},
    "kind": {"type": "string"},
    "generated": {"type": "boolean"},
    "path": {"type": "string"}
  }
})",
    .handler = add_key,
};

extern const Command kKeyCheckCommand;
constinit const Command kKeyCheckCommand = {
    .path = "key check",
    .summary = "prove that a key can restore",
    .description =
        "Tells which slots the given key opens, and reads with nothing but that key what a restore needs of "
        "every "
        "cluster: its registration, the newest backup's manifest, tree and a file of the database, and the "
        "newest "
        "WAL segment.",
    .danger = Danger::read,
    .groups = {&kRepoOptions, &kServerOptions, &kGeneralOptions},
    .examples = "lifeboat key check --repo /srv/backup --passphrase-file /mnt/escrow/passphrase",
    .exit_notes = "11: the key opens no slot.",
    .schema = R"({
  "type": "object",
  "properties": {
    "repository": {"type": "string"},
    "slots": {"type": "array", "items": {"type": "object", "required": ["slot", "opens"]}},
    "proofs": {"type": "array", "items": {"type": "object", "required": ["cluster", "lineage", "read"]}}
  }
})",
    .handler = check_key,
};

}  // namespace lifeboat::app
