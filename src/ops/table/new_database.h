// A database that is made as another one was: its own properties first and last, what is in it between.
#pragma once

#include <string>
#include <vector>

#include "ops/dump/sql_text.h"
#include "ops/table/roles.h"
#include "pg/client/client.h"
#include "pg/server/pg_bin.h"
#include "util/result.h"
#include "util/stop.h"

namespace lifeboat::ops {

struct NewDatabaseOptions {
  std::string source;    // conninfo of the database that it is made after
  std::string original;  // that database's name
  std::string name;      // of the new one
  std::string destination;
  pg::PgBin client;
};

// Thread rule: one thread.
class NewDatabase {
 public:
  // What belongs to the original itself, but for what `roles` forbids, which is noted. Errors: those of
  // pg_dump and of the server.
  static Result<NewDatabase> plan(NewDatabaseOptions options, const RolesConcerned& roles,
                                  const StopToken& stop);
  // From template0, with its owner. Errors: conflict, those of the server; then nothing is left.
  Status create();
  // Settings and privileges, which could have hindered who fills it. What is refused is noted. Errors: the
  // server does not answer.
  Status finish();
  // Takes it away. `error` with what became of that.
  Error drop(Error error);
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  NewDatabase(NewDatabaseOptions options, const StopToken& stop)
      : options_(std::move(options)), stop_(stop) {}
  Result<pg::PgClient> connect(const StopToken& stop) const;
  Status leave_out_tablespace();
  void leave_out_roles(const RolesConcerned& roles);

  NewDatabaseOptions options_;
  const StopToken& stop_;
  std::vector<SqlStatement> statements_;
  std::vector<std::string> notes_;
};

}  // namespace lifeboat::ops
