// A throw-away PostgreSQL for unit tests that need a server: one per test program, made at first use, ended
// with it.
//
// PostgreSQL 15 unless LIFEBOAT_LIVE_MAJOR names another major; LIFEBOAT_LIVE_BIN its directory of programs.
// As root everything runs as the account postgres. Not durable on purpose (fsync off).
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "pg/server/launcher.h"
#include "util/files.h"
#include "util/process.h"
#include "util/strings.h"

namespace lifeboat::pg::test {

class LiveCluster {
 public:
  // nullptr: no PostgreSQL of that major here; why() says so.
  static LiveCluster* get() {
    static std::unique_ptr<LiveCluster> cluster = make();
    return cluster.get();
  }
  static std::string& why() {
    static std::string text;
    return text;
  }

  const std::string& root() const { return root_; }  // belongs to the server's account, removed at the end
  std::string data() const { return root_ + "/data"; }
  std::string outside() const { return root_ + "/outside"; }  // hba file and included configuration
  const PgBin& bin() const { return bin_; }
  std::optional<OsUser> user() const { return user_; }
  PgServer& server() { return *server_; }
  std::string conninfo(const std::string& role = "postgres", const std::string& database = "postgres") const {
    return cat("host=", root_, " port=5432 user=", role, " dbname=", database);
  }
  PgClient connect(const std::string& role = "postgres", const ConnectOptions& options = {}) const {
    auto client = PgClient::connect(conninfo(role), options);
    if (!client) ADD_FAILURE() << client.error().to_string();
    CHECK(client.has_value());
    return *std::move(client);
  }
  // Runs a program as the server's account.
  Result<ProcessOutcome> run(std::vector<std::string> argv) const {
    ProcessSpec spec;
    spec.argv = std::move(argv);
    spec.user = user_;
    spec.cwd = root_;
    return run_checked(spec);
  }
  // Options for a second server on a directory below root().
  LaunchOptions launch(const std::string& directory, int port) const {
    LaunchOptions options;
    options.bin = bin_;
    options.data_directory = directory;
    options.socket_directory = root_;
    options.port = port;
    options.log_file = cat(directory, ".log");
    options.role = "postgres";
    options.settings = {{"fsync", "off"}, {"shared_buffers", "16MB"}};
    return options;
  }
  // Copies the running cluster with the server's own tool, WAL included.
  std::string base_backup(const std::string& name) const {
    std::string directory = cat(root_, "/", name);
    auto done = run({bin_.program("pg_basebackup"), "-h", root_, "-p", "5432", "-U", "postgres", "-D",
                     directory, "-X", "fetch", "-c", "fast", "--no-sync"});
    if (!done) ADD_FAILURE() << done.error().to_string();
    return directory;
  }
  void write(const std::string& path, std::string_view text) const {
    std::ofstream(path) << text;
    give(path);
  }
  void give(const std::string& path) const {
    if (user_) CHECK(::lchown(path.c_str(), user_->uid, user_->gid) == 0);
  }

  ~LiveCluster() {
    server_.reset();
    if (!root_.empty()) (void)remove_tree(root_).has_value();  // best effort at the end of a test program
  }

 private:
  static std::unique_ptr<LiveCluster> make() {
    auto cluster = std::make_unique<LiveCluster>();
    const char* major = std::getenv("LIFEBOAT_LIVE_MAJOR");
    const char* directory = std::getenv("LIFEBOAT_LIVE_BIN");
    auto bin = find_pg_bin(major ? std::atoi(major) : 15, directory ? directory : "");
    if (!bin) {
      why() = bin.error().to_string();
      return nullptr;
    }
    cluster->bin_ = *bin;
    if (::geteuid() == 0) {
      auto user = OsUser::by_name("postgres");
      if (!user) {
        why() = user.error().to_string();
        return nullptr;
      }
      cluster->user_ = *user;
    }
    char name[] = "/tmp/lifeboat-live-XXXXXX";
    CHECK(::mkdtemp(name));
    cluster->root_ = name;
    cluster->give(name);
    auto made = cluster->run({bin->program("initdb"), "-D", cluster->data(), "-N", "-A", "trust", "-U",
                              "postgres", "-k", "--locale=C", "-E", "UTF8"});
    if (!made) {
      ADD_FAILURE() << made.error().to_string();
      return nullptr;
    }
    // The layout of a distribution in small: client authentication and part of the configuration live
    // elsewhere.
    CHECK(create_dirs(cluster->outside() + "/conf.d").has_value());
    cluster->give(cluster->outside());
    cluster->give(cluster->outside() + "/conf.d");
    cluster->write(cluster->outside() + "/pg_hba.conf", "local all all trust\nlocal replication all trust\n");
    cluster->write(cluster->outside() + "/conf.d/10-empty.conf", "# nothing is set here\n");
    cluster->write(cluster->outside() + "/conf.d/20-size.conf", "work_mem = '5MB'\n");
    cluster->write(cluster->outside() + "/conf.d/ignored.txt", "nonsense\n");
    std::ofstream(cluster->data() + "/postgresql.conf", std::ios::app)
        << "fsync = off\nshared_buffers = 16MB\nmax_wal_senders = 4\nwal_level = replica\n"
        << "hba_file = '" << cluster->outside() << "/pg_hba.conf'\n"
        << "include_dir = '" << cluster->outside() << "/conf.d'\n";
    auto server = PgServer::start(cluster->launch(cluster->data(), 5432));
    if (!server) {
      ADD_FAILURE() << server.error().to_string();
      return nullptr;
    }
    cluster->server_ = std::make_unique<PgServer>(*std::move(server));
    auto state = cluster->server_->wait({}, 30'000);
    if (!state || state->phase != ServerPhase::ready) {
      ADD_FAILURE() << (state ? state->last_error : state.error().to_string());
      return nullptr;
    }
    return cluster;
  }

  std::string root_;
  PgBin bin_;
  std::optional<OsUser> user_;
  std::unique_ptr<PgServer> server_;
};

// A test fixture whose tests are skipped, and say so, where there is no server to be had.
class LiveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    live = LiveCluster::get();
    if (!live) GTEST_SKIP() << LiveCluster::why();
  }
  LiveCluster* live = nullptr;
};

}  // namespace lifeboat::pg::test
