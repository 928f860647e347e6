// Which dumps there are, and what is in one.
#include <fcntl.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>

#include "ops/dump/dump.h"
#include "ops/dump/program.h"
#include "ops/dump/stream_store.h"
#include "ops/given_names.h"
#include "pg/server/pg_bin.h"
#include "repo/tombstone.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr uint64_t kMostContents = 256 << 20;
constexpr size_t kNamed = 5;

Status read_lineage(const repo::LineageRepo& repo, bool with_aborted, DumpList& list) {
  TRY_ASSIGN(auto condemned, repo::read_condemned(repo));
  TRY_ASSIGN(Proofs proofs, read_proofs(repo));
  for (const std::string& what : proofs.unreadable)
    list.problems.push_back(make_error(ErrorKind::damaged, "", what));
  std::string prefix = repo.name("cards/");
  return repo.store().list(prefix, [&](const storage::ObjectInfo& object) -> Status {
    auto id = BackupId::parse(std::string_view(object.name).substr(prefix.size()));
    if (!id || condemned.condemns(*id)) return {};
    auto card = repo::read_card(repo, *id);
    if (!card && card.error().kind == ErrorKind::not_found) return {};  // expired since the listing
    if (!card && card.error().kind != ErrorKind::damaged) return std::move(card).error();
    if (!card) {
      list.problems.push_back(std::move(card).error());
      return {};
    }
    if (card->state == repo::BackupState::aborted && !with_aborted) return {};
    DumpEntry entry;
    entry.lineage = repo.lineage();
    if (const BackupProofs* known = proofs.of(*id)) entry.proofs = *known;
    entry.card = std::move(*card);
    list.dumps.push_back(std::move(entry));
    return {};
  });
}

// What pg_restore reads of an archive before it has its table of contents, which is at the front.
Result<std::string> list_contents(const repo::LineageRepo& repo, const repo::Manifest& manifest,
                                  const repo::DumpedDatabase& database, const std::string& pg_bin,
                                  const StopToken& stop) {
  TRY_ASSIGN(pg::PgBin client, pg::find_client_bin(manifest.dump->client_major, pg_bin));
  repo::TreeReader tree(repo);
  const bool directory = manifest.card.dump->format == repo::DumpFormat::directory;
  TRY_ASSIGN(repo::Entry archive,
             tree.find(manifest.root,
                       cat("databases/", database.oid, directory ? "/directory/toc.dat" : "/archive")));
  TRY_ASSIGN(TempDir place, TempDir::make());
  std::string file = place / (directory ? "toc.dat" : "archive");
  {
    TRY_ASSIGN(Fd fd, open_file(file, O_WRONLY | O_CREAT | O_EXCL, 0600));
    TRY(read_stream(repo, manifest.block_size, archive, stop,
                    [&](ByteView bytes) { return write_all(fd.get(), bytes, file); }));
    TRY(fd.close(file));
  }
  return program_output({client.program("pg_restore"), "--list", directory ? place.path() : file},
                        kMostContents, stop);
}

}  // namespace

Result<DumpList> list_dumps(const repo::Repository& repository, const std::string& cluster,
                            bool with_aborted) {
  TRY_ASSIGN(ChosenLineage newest, choose_lineage(repository, cluster));
  TRY_ASSIGN(auto records, repo::list_lineages(repository, cluster));
  DumpList list;
  for (const repo::LineageRecord& record : records)
    TRY(read_lineage(repo::LineageRepo(repository, cluster, record.lineage).dumps(), with_aborted, list));
  std::ranges::sort(list.dumps, [](const DumpEntry& a, const DumpEntry& b) {
    return std::pair(a.card.started, a.card.id) < std::pair(b.card.started, b.card.id);
  });
  return list;
}

namespace {

FoundDump found_dump(const repo::Repository& repository, const std::string& cluster, const DumpEntry& entry) {
  return {repo::LineageRepo(repository, cluster, entry.lineage).dumps(), entry.card, "", false};
}

bool is_complete(const DumpEntry& entry) {
  return entry.card.state == repo::BackupState::complete && entry.card.dump;
}

Error no_dump_has(const std::vector<DumpEntry>& complete, const std::string& cluster, const DumpWish& wish) {
  std::set<std::string> known;
  for (const DumpEntry& entry : complete)
    known.insert(entry.card.dump->databases.begin(), entry.card.dump->databases.end());
  for (const std::string& name : wish.databases) {
    if (!known.contains(name))
      return no_such_database(name, cat("in any dump of cluster ", cluster), {known.begin(), known.end()});
  }
  return make_error(ErrorKind::not_found, join(wish.databases, ", "), "no dump has all of these databases")
      .with_hint("restore them one by one, each from the newest dump that has it");
}

// `damage`: the first manifest that cannot be read, whose dump is passed over.
Result<DumpCandidate> judge(const repo::Repository& repository, const std::string& cluster,
                            const DumpEntry& entry, const DumpWish& wish, std::optional<Error>& damage) {
  const repo::Card& card = entry.card;
  if (wish.tables.empty()) return judge_dump(card.id, card.started, *card.dump, wish);
  auto manifest = read_dump_manifest(found_dump(repository, cluster, entry));
  if (manifest) return judge_dump(card.id, card.started, *card.dump, wish, &*manifest->dump);
  const ErrorKind kind = manifest.error().kind;
  if (kind != ErrorKind::damaged && kind != ErrorKind::not_found) return std::move(manifest).error();
  if (!damage) damage = std::move(manifest).error();
  return DumpCandidate{card.id, card.started, DumpLack::wanted, "with a damaged manifest"};
}

Result<FoundDump> find_latest(const repo::Repository& repository, const std::string& cluster, DumpList list,
                              const DumpWish& wish) {
  std::vector<DumpEntry> complete;  // newest first
  std::copy_if(list.dumps.rbegin(), list.dumps.rend(), std::back_inserter(complete), is_complete);
  if (complete.empty()) {
    if (!list.problems.empty()) return std::move(list.problems.front());
    return make_error(ErrorKind::not_found, cat("cluster ", cluster), "has no complete dump")
        .with_hint("take one with lifeboat dump create");
  }
  std::vector<DumpCandidate> candidates;
  std::optional<Error> damage;
  for (const DumpEntry& entry : complete) {
    TRY_ASSIGN(DumpCandidate candidate, judge(repository, cluster, entry, wish, damage));
    const BackupProof* failed = wish.sound ? failed_proof(entry.proofs) : nullptr;
    if (failed != nullptr && !failed->by_questions) judge_failed(first_problem(*failed), candidate);
    candidates.push_back(std::move(candidate));
    if (candidates.back().lack == DumpLack::nothing) break;
  }
  auto latest = choose_latest(candidates);
  if (!latest && damage) return *std::move(damage);
  if (!latest) return no_dump_has(complete, cluster, wish);
  FoundDump found = found_dump(repository, cluster, complete[latest->index]);
  found.note = std::move(latest->note);
  found.doubt = latest->doubt;
  return found;
}

}  // namespace

void tell_choice(const FoundDump& found, Reporter& reporter) {
  if (!found.note.empty()) reporter.note(found.doubt ? NoteLevel::warning : NoteLevel::info, found.note);
}

Result<FoundDump> find_dump(const repo::Repository& repository, const std::string& cluster,
                            const std::string& id, const DumpWish& wish) {
  TRY_ASSIGN(DumpList list, list_dumps(repository, cluster, true));
  if (id == "latest") return find_latest(repository, cluster, std::move(list), wish);
  std::vector<std::string> known;
  for (auto entry = list.dumps.rbegin(); entry != list.dumps.rend(); ++entry) {
    if (entry->card.id.text == id) {
      if (is_complete(*entry)) return found_dump(repository, cluster, *entry);
      return make_error(ErrorKind::not_found, cat("dump ", id), cat("never completed: ", entry->card.reason));
    }
    if (is_complete(*entry) && known.size() < kNamed) known.push_back(entry->card.id.text);
  }
  for (Error& problem : list.problems) {
    if (problem.object.ends_with(id)) return std::move(problem);
  }
  TRY_ASSIGN(auto lineages, repo::list_lineages(repository, cluster));
  for (const repo::LineageRecord& record : lineages) {
    const repo::LineageRepo physical(repository, cluster, record.lineage);
    TRY_ASSIGN(bool is_backup, repository.store().exists(physical.name(cat("cards/", id))));
    if (is_backup)
      return make_error(ErrorKind::not_found, cat("dump ", id), "is a physical backup, not a dump")
          .with_hint("lifeboat show and restore take it");
  }
  return make_error(ErrorKind::not_found, cat("dump ", id), cat("not in cluster ", cluster))
      .with_hint(known.empty() ? std::string("there is no dump yet: lifeboat dump create takes one")
                               : cat("the newest are ", join(known, ", "),
                                     "; lifeboat dump list shows all; latest is the newest that has what is "
                                     "asked for"));
}

Result<repo::Manifest> read_dump_manifest(const FoundDump& found) {
  TRY_ASSIGN(repo::Manifest manifest, repo::read_manifest(found.repo, found.card.id));
  if (manifest.dump && manifest.card.dump) return manifest;
  return make_error(ErrorKind::damaged, found.repo.name(cat("manifests/", found.card.id.text)),
                    "is not the manifest of a dump");
}

Result<DumpDetails> describe_dump(const repo::Repository& repository, const std::string& cluster,
                                  const ShowDumpOptions& options, const StopToken& stop) {
  TRY_ASSIGN(FoundDump found, find_dump(repository, cluster, options.id, {.every_database = true}));
  DumpDetails details;
  details.note = found.note;
  details.lineage = found.repo.lineage();
  TRY_ASSIGN(details.manifest, read_dump_manifest(found));
  TRY_ASSIGN(Proofs proofs, read_proofs(found.repo));
  if (const BackupProofs* known = proofs.of(found.card.id)) details.proofs = *known;
  const std::string url = found.repo.store().url();
  details.location = cat(url, url.ends_with('/') ? "" : "/", found.repo.prefix());
  if (!options.contents) return details;
  if (found.card.dump->format == repo::DumpFormat::plain)
    return make_error(ErrorKind::unsupported, cat("dump ", found.card.id.text),
                      "is plain SQL, which has no table of contents")
        .with_hint("dump restore --to writes it out");
  for (const repo::DumpedDatabase& database : details.manifest.dump->databases) {
    TRY_ASSIGN(std::string listed,
               list_contents(found.repo, details.manifest, database, options.pg_bin, stop));
    details.contents.emplace_back(database.name, std::move(listed));
  }
  return details;
}

}  // namespace lifeboat::ops
