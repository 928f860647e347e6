#include "pg/server/pg_bin.h"

#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::pg {
namespace {

// What is in a directory: nullopt when it has no such program that runs.
std::optional<PgBin> look_in(const std::string& directory, std::string_view program = "postgres") {
  PgBin bin;
  bin.directory = directory;
  RunOptions options;
  options.timeout_ms = 10'000;
  auto outcome = run_process({.argv = {bin.program(program), "-V"}}, options);
  if (!outcome || !outcome->ok()) return std::nullopt;
  bin.version = std::string(trim(outcome->out));
  bin.major = major_of_version_line(bin.version, program);
  if (bin.major == 0) return std::nullopt;
  return bin;
}

constexpr std::string_view kClient = "pg_dump";
constexpr int kNewestMajor = 30;  // that is looked for

// In the order of preference.
std::vector<std::string> client_directories(int major) {
  std::vector<std::string> directories;
  for (int newer = major; newer <= kNewestMajor; ++newer) {
    directories.push_back(cat("/usr/lib/postgresql/", newer, "/bin"));
    directories.push_back(cat("/usr/pgsql-", newer, "/bin"));
  }
  if (auto found = find_program(kClient)) directories.push_back(parent_path(*found));
  return directories;
}

}  // namespace

std::string PgBin::program(std::string_view name) const {
  return join_path(directory, name);
}

int major_of_version_line(std::string_view line, std::string_view program) {
  const std::string prefix = cat(program, " (PostgreSQL) ");
  if (!line.starts_with(prefix)) return 0;
  line.remove_prefix(prefix.size());
  size_t digits = 0;
  while (digits < line.size() && line[digits] >= '0' && line[digits] <= '9') ++digits;
  auto major = parse_u64(line.substr(0, digits));
  return major && *major < 1000 ? static_cast<int>(*major) : 0;
}

Result<PgBin> find_pg_bin(int major, const std::string& explicit_dir) {
  if (!explicit_dir.empty()) {
    auto bin = look_in(explicit_dir);
    if (!bin)
      return make_error(ErrorKind::not_found, explicit_dir,
                        "no postgres program that runs is in this directory");
    if (bin->major != major)
      return make_error(ErrorKind::foreign, explicit_dir,
                        cat("expected the programs of PostgreSQL ", major, ", found ", bin->version));
    return *std::move(bin);
  }
  std::vector<std::string> directories = {cat("/usr/lib/postgresql/", major, "/bin"),
                                          cat("/usr/pgsql-", major, "/bin")};
  // postgres itself is rarely in PATH on Debian, which puts wrappers there; where it is, it is the real one.
  if (auto found = find_program("postgres")) directories.push_back(parent_path(*found));
  for (const std::string& directory : directories)
    if (auto bin = look_in(directory); bin && bin->major == major) return *std::move(bin);
  return make_error(ErrorKind::not_found, cat("PostgreSQL ", major),
                    cat("its programs are not in ", join(directories, ", ")))
      .with_hint(cat("install postgresql-", major, ", or name the directory with --pg-bin"));
}

Result<PgBin> find_client_bin(int major, const std::string& explicit_dir) {
  if (!explicit_dir.empty()) {
    auto bin = look_in(explicit_dir, kClient);
    if (!bin)
      return make_error(ErrorKind::not_found, explicit_dir,
                        "no pg_dump program that runs is in this directory");
    if (bin->major < major)
      return make_error(
          ErrorKind::foreign, explicit_dir,
          cat("expected client programs of PostgreSQL ", major, " or newer, found ", bin->version));
    return *std::move(bin);
  }
  std::optional<PgBin> nearest;
  for (const std::string& directory : client_directories(major)) {
    if (nearest && nearest->major == major) break;
    auto bin = look_in(directory, kClient);
    if (bin && bin->major >= major && (!nearest || bin->major < nearest->major)) nearest = std::move(bin);
  }
  if (nearest) return *std::move(nearest);
  return make_error(ErrorKind::not_found, cat("PostgreSQL ", major),
                    "no pg_dump of this major or a newer one is on this host")
      .with_hint(cat("install postgresql-client-", major, ", or name the directory with --pg-bin"));
}

}  // namespace lifeboat::pg
