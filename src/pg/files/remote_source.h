// The files of a server that is reached through connections only: no access to its host, no replication
// protocol, no superuser. pg_ls_dir and pg_stat_file list, pg_read_binary_file reads; execution of the three
// is what a role has to be granted (kRemoteReadFunctions). Paths are relative to the data directory, which
// needs no pg_read_server_files (convert_and_check_filename in src/backend/utils/adt/genfile.c); what lies
// outside does.
//
// A range that was announced (will_read) is one statement of many rows on a connection of its own: the server
// reads and sends ahead, as far as the connection holds it, while the worker compresses. Everything else goes
// one statement at a time through a connection that all threads share.
//
// What a connection cannot see: symbolic links other than those of tablespaces are followed, so what they
// point to is taken as if it were there; owners have no number, and modes are those that
// data_directory_mode implies.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "model/timestamp.h"
#include "pg/client/client.h"
#include "pg/files/source.h"

namespace lifeboat::pg {

inline constexpr std::array<std::string_view, 3> kRemoteReadFunctions = {
    "pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text, bigint, bigint, boolean)"};

struct RemoteOptions {
  std::string conninfo;
  std::string application_name;
  DataDirOptions layout;  // data_directory as the server names it
  Timestamp
      postmaster_start;  // of the server that is meant: a connection that reaches another one is refused
  std::string owner;     // recorded for every file
  const StopToken* stop = nullptr;
};

// Errors of all functions: those of PgClient, each naming the server and the path; foreign when a connection
// reaches another server than the first one (a conninfo with several hosts).
class RemoteSource : public FileSource {
 public:
  // Errors: permission, with the statement that grants what the role lacks.
  static Result<std::unique_ptr<RemoteSource>> open(RemoteOptions options);
  ~RemoteSource() override;

  Result<DirectoryListing> list(std::string_view path) override;
  Result<std::unique_ptr<SourceFile>> open(std::string_view path) override;
  Result<std::unique_ptr<SourceFile>> open_listed(std::string_view path) override;
  Status read_places(std::span<const FilePlace> places, size_t size,
                     const std::function<Status(size_t, ByteView)>& each) override;
  Result<std::vector<std::string>> names(const std::string& directory) override;
  std::string absolute(std::string_view path) const override;

 private:
  struct State;
  class File;
  explicit RemoteSource(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;  // shared with the files
};

}  // namespace lifeboat::pg
