// What a copy that gives back some tables does not need replayed: the changes of all other tables, of their
// indexes and TOAST, and of other databases.
//
// Left out is only what is known from the backup: files of relations that its pg_class names and that were
// not asked for. Catalogues, sequences, shared relations, files that were made later and those of access
// methods that came with an extension are replayed as ever. So the copy's catalogues are right, its commits,
// positions and timelines too, and only rows of tables that nobody asked for are old, or broken.
//
// The backup's names are a guess at what is wanted at the target: a table may be renamed, attached to
// another, or made anew in between. Whoever uses the copy compares what it has chosen there with what was
// left out (lacks()), and recovers again without leaving out anything when one of them is among it.
//
// So does a problem: a record that changes both kinds of files, or a copy of files that are not complete.
//
// Thread rule: leaves_out() on one thread, the rest when that has ended.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "ops/session.h"
#include "pg/client/client.h"
#include "pg/wal/wal_record.h"
#include "repo/manifest.h"
#include "util/result.h"

namespace lifeboat::ops {

// What is wanted of a copy.
struct WantedTables {
  std::string database;
  std::vector<std::string> tables;  // TABLE or SCHEMA.TABLE, as SQL writes them; none: the whole database
};

struct TableName {
  std::string schema;
  std::string table;
};

class LeftOut {
 public:
  // Reads the catalogues of the backup. nullopt: it does not have that database, so nothing is known.
  // `connected`: databases that somebody connects to besides. Errors: those of the repository, damaged.
  static Result<std::optional<LeftOut>> choose(const ChosenLineage& lineage, const repo::Manifest& manifest,
                                               const WantedTables& wanted,
                                               const std::vector<std::string>& connected);

  // Is this record needless? In the order of WAL. What it says no to has to be replayed.
  bool leaves_out(const pg::WalRecord& record);

  // --- when everything was read
  // Empty: nothing was wrong.
  const std::string& problem() const { return problem_; }
  uint64_t records() const { return left_out_; }
  // Whether something that these tables consist of was left out, at the target. `client` is connected to
  // their database. With no tables: the whole database.
  Result<bool> lacks(pg::PgClient& client, const std::vector<TableName>& tables) const;

 private:
  struct Hash {
    size_t operator()(const pg::RelationLocator& relation) const;
  };
  struct File {
    bool used = false;  // changes of it were left out
  };
  File* find(const pg::RelationLocator& relation);
  void look_at_what_is_made(const pg::WalRecord& record);
  bool lacks_anything_of(Oid database) const;

  LeftOut() = default;
  const pg::VersionTraits* version_ = nullptr;
  std::unordered_map<pg::RelationLocator, File, Hash> files_;
  std::unordered_map<Oid, File> databases_;
  uint64_t left_out_ = 0;
  std::string problem_;
};

}  // namespace lifeboat::ops
