// The museum: repositories that earlier versions wrote are opened by every later one
// (tests/golden/README.md).
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>

#include "repo/evidence.h"
#include "repo/lease.h"
#include "repo/wal_store.h"
#include "storage/file/file_store.h"
#include "tests/support/repo_fixture.h"
#include "util/files.h"

namespace lifeboat::repo {
namespace {

const TinyFiles kFiles = {{"16384", Bytes(1000, 'a')},
                          {"16384_fsm", Bytes(64, 0)},
                          {"PG_VERSION", {'1', '5', '\n'}},
                          {"empty", {}}};
const BackupId kBackup{"20261120T105625Z-4f2a9c"};
const Lineage kLineage{{7424242424242424242ull}, 15};
const WalFileName kSegment = *WalFileName::parse("000000010000000000000001");
const WalFileName kHistory = *WalFileName::parse("00000002.history");
constexpr std::string_view kHistoryText = "1\t0/2000000\tno recovery target specified\n";

std::string golden(std::string_view name) {
  const char* source = std::getenv("LIFEBOAT_SOURCE_DIR");
  return cat(source != nullptr ? source : ".", "/tests/golden/", name);
}

void write_golden(const std::string& directory, const KeySource& key) {
  auto store = storage::open_store(cat("file://", directory), storage::StoreMode::create_missing);
  ASSERT_TRUE(store) << store.error().to_string();
  auto repository = Repository::create(std::move(*store), key, {codec::Compression::zstd, 1});
  ASSERT_TRUE(repository) << repository.error().to_string();
  LineageRepo repo(*repository, "main", kLineage);
  LineageRecord record{kLineage, 202209061, kTinySegment, kTinyBlock, {1'763'636'185'000'000}, "museum"};
  ASSERT_TRUE(register_lineage(repo, record));
  auto root = store_tiny_tree(repo, kBackup, kFiles, nullptr);
  ASSERT_TRUE(root);
  Manifest manifest = tiny_manifest(kBackup, *root, {1'763'636'185'000'000}, {1'763'636'190'000'000},
                                    {{1}, {0x100028}, {0x100100}});
  manifest.backup_label = "START WAL LOCATION: 0/100028\n";
  ASSERT_TRUE(write_manifest(repo, manifest));
  ASSERT_TRUE(write_card(repo, manifest.card));
  WalStore wal(repo);
  ASSERT_TRUE(wal.push(kSegment, WalSource::from_bytes(Bytes(kTinySegment.bytes, 'w'))));
  ASSERT_TRUE(wal.push(kHistory, WalSource::from_bytes(as_bytes(kHistoryText))));
  ASSERT_TRUE(write_evidence(repo, {1'763'636'200'000'000}, R"({"format":1,"kind":"museum"})"));
}

void read_golden(const std::string& directory, const KeySource& key) {
  auto store = storage::open_store(cat("file://", directory), storage::StoreMode::existing);
  ASSERT_TRUE(store) << store.error().to_string();
  auto repository = Repository::open(std::move(*store), key);
  ASSERT_TRUE(repository) << repository.error().to_string();
  LineageRepo repo(*repository, "main", kLineage);
  auto record = require_lineage(repo);
  ASSERT_TRUE(record) << record.error().to_string();
  EXPECT_EQ(record->segment_size.bytes, kTinySegment.bytes);
  auto cards = read_cards(repo);
  ASSERT_TRUE(cards && cards->size() == 1);
  EXPECT_EQ(cards->front().id, kBackup);
  auto files = restore_tiny(repo, kBackup);
  ASSERT_TRUE(files) << files.error().to_string();
  EXPECT_EQ(*files, kFiles);
  WalStore wal(repo);
  Bytes segment;
  auto got = wal.get(kSegment, [&](ByteView piece) -> Status {
    segment.insert(segment.end(), piece.begin(), piece.end());
    return {};
  });
  ASSERT_TRUE(got) << got.error().to_string();
  EXPECT_EQ(segment, Bytes(kTinySegment.bytes, 'w'));
  auto history = wal.get_small(kHistory, 1 << 16);
  ASSERT_TRUE(history);
  EXPECT_EQ(as_text(*history), kHistoryText);
  auto evidence = list_evidence(repo);
  ASSERT_TRUE(evidence && evidence->size() == 1);
  EXPECT_TRUE(read_evidence(repo, evidence->front()));
}

// LIFEBOAT_WRITE_GOLDEN=1 makes what is missing; what is there is never written again.
void check(std::string_view name, KeySourceKind kind, std::string_view secret) {
  auto scratch = TempDir::make();
  ASSERT_TRUE(scratch);
  KeySource key{kind, {}};
  if (kind != KeySourceKind::none) {
    // A checkout does not keep mode 0600.
    auto content = read_file(golden(secret), 4096);
    ASSERT_TRUE(content);
    key.path = *scratch / "secret";
    ASSERT_TRUE(write_file_durable(key.path, *content, 0600));
  }
  auto there = path_exists(golden(name));
  ASSERT_TRUE(there);
  if (!*there && std::getenv("LIFEBOAT_WRITE_GOLDEN") != nullptr) write_golden(golden(name), key);
  read_golden(golden(name), key);
}

TEST(Golden, format_1_without_encryption_is_read) {
  check("format-1-plain", KeySourceKind::none, "");
}
TEST(Golden, format_1_with_a_key_file_is_read) {
  check("format-1-key-file", KeySourceKind::key_file, "key");
}
TEST(Golden, format_1_with_a_passphrase_is_read) {
  check("format-1-passphrase", KeySourceKind::passphrase_file, "passphrase");
}

}  // namespace
}  // namespace lifeboat::repo
