#include "repo/verify.h"

#include <gtest/gtest.h>

#include "repo/evidence.h"
#include "repo/lease.h"
#include "repo/tombstone.h"
#include "repo/wal_store.h"
#include "tests/support/repo_fixture.h"
#include "util/files.h"

namespace lifeboat::repo {
namespace {

class VerifyTest : public ::testing::Test {
 protected:
  VerifyTest() : VerifyTest(KeySource{}) {}
  explicit VerifyTest(const KeySource& key) : tiny_(key) {
    base_ = *tiny_.back_up({{"a", tiny_content(1, 900)}, {"b", tiny_content(2, 300)}});
    tiny_.clock.advance_us(1'000'000);
    next_ = *tiny_.back_up({{"a", tiny_content(1, 900)}, {"b", tiny_content(3, 300)}}, base_);
    for (uint32_t i = 1; i <= 2; ++i) {
      auto file = WalFileName::parse(SegmentName{{1}, 0, i}.to_string());
      CHECK(WalStore(tiny_.repo).push(*file, WalSource::from_bytes(tiny_content(i, 70))).has_value());
    }
    CHECK(write_evidence(tiny_.repo, {tiny_.clock.unix_us()}, "{}").has_value());
    options_.take_lease = false;
  }
  VerifyReport verify() {
    auto report = verify_repository(tiny_.repository, options_);
    EXPECT_TRUE(report) << report.error().to_string();
    return report ? std::move(*report) : VerifyReport();
  }
  std::vector<std::string> all_objects() {
    std::vector<std::string> names;
    EXPECT_TRUE(tiny_.memory.list("", [&](const storage::ObjectInfo& info) -> Status {
      names.push_back(info.name);
      return {};
    }));
    return names;
  }
  std::string pack_of(const BackupId& id, std::string_view ending) {
    for (const std::string& name : tiny_.names("packs/" + id.text)) {
      if (name.ends_with(ending)) return tiny_.repo.name(name);
    }
    return "";
  }
  void flip(const std::string& name, size_t at, uint8_t bits = 1) {
    Bytes bytes = *tiny_.memory.get(name, 1 << 20);
    bytes[at % bytes.size()] ^= bits;
    ASSERT_TRUE(tiny_.memory.overwrite(name, bytes));
  }
  static bool whole(const VerifyReport& report, const BackupId& id) {
    for (const auto& verdict : report.backups) {
      if (verdict.id == id) return verdict.whole;
    }
    ADD_FAILURE() << "no verdict on " << id.text;
    return false;
  }

  TinyRepo tiny_;
  BackupId base_;
  BackupId next_;
  VerifyOptions options_;
};

TEST_F(VerifyTest, a_whole_repository_is_whole_and_everything_was_read) {
  VerifyReport report = verify();
  EXPECT_TRUE(report.ok());
  EXPECT_TRUE(whole(report, base_));
  EXPECT_TRUE(whole(report, next_));
  EXPECT_TRUE(report.unknown.empty());
  EXPECT_TRUE(report.unreferenced.empty());
  EXPECT_EQ(report.totals.objects, all_objects().size());
  uint64_t bytes = 0;
  for (const std::string& name : all_objects()) bytes += tiny_.memory.get(name, 1 << 20)->size();
  EXPECT_EQ(report.totals.bytes, bytes);
  EXPECT_EQ(report.totals.wal_files, 2u);
  EXPECT_GT(report.totals.references, 0u);
}

TEST_F(VerifyTest, any_flipped_bit_of_any_object_is_found_and_named) {  // V1
  options_.workers = 2;
  uint32_t random = 1;
  int tried = 0;
  for (const std::string& name : all_objects()) {
    Bytes good = *tiny_.memory.get(name, 1 << 20);
    for (size_t at = 0; at < good.size(); at += 1 + (random = random * 1664525 + 1013904223) % 23) {
      flip(name, at, static_cast<uint8_t>(1 << (random >> 29)));
      VerifyReport report = verify();
      ASSERT_FALSE(report.ok()) << name << " at " << at << " of " << good.size();
      bool named = std::any_of(report.damage.begin(), report.damage.end(),
                               [&](const Damage& damage) { return damage.object == name; });
      EXPECT_TRUE(named) << name << " at " << at << ": " << report.damage.front().object;
      ASSERT_TRUE(tiny_.memory.overwrite(name, good));
      ++tried;
    }
  }
  EXPECT_GT(tried, 200);
  EXPECT_TRUE(verify().ok());
}

TEST_F(VerifyTest, any_truncated_object_is_found) {
  for (const std::string& name : all_objects()) {
    Bytes good = *tiny_.memory.get(name, 1 << 20);
    for (size_t size : {size_t{0}, good.size() / 2, good.size() - 1}) {
      ASSERT_TRUE(
          tiny_.memory.overwrite(name, Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(size))));
      EXPECT_FALSE(verify().ok()) << name << " cut to " << size;
    }
    Bytes longer = good;
    longer.push_back(0);
    ASSERT_TRUE(tiny_.memory.overwrite(name, longer));
    EXPECT_FALSE(verify().ok()) << name << " with a byte more";
    ASSERT_TRUE(tiny_.memory.overwrite(name, good));
  }
}

TEST_F(VerifyTest, any_removed_object_that_a_backup_needs_is_missed) {
  for (const std::string& name : all_objects()) {
    std::string_view below = std::string_view(name).substr(std::min(name.size(), tiny_.repo.prefix().size()));
    bool needed = below.starts_with("packs/") || below.starts_with("manifests/");
    if (!needed) continue;
    Bytes good = *tiny_.memory.get(name, 1 << 20);
    ASSERT_TRUE(tiny_.memory.remove(name));
    VerifyReport report = verify();
    // The old data of "b" and the old tree are base_'s alone; what they share takes both down.
    EXPECT_FALSE(report.ok()) << name;
    EXPECT_FALSE(whole(report, base_) && whole(report, next_)) << name;
    ASSERT_TRUE(tiny_.memory.put(name, good));
  }
  EXPECT_TRUE(verify().ok());
}

TEST_F(VerifyTest, damage_names_the_backups_that_it_concerns_and_no_others) {
  // "a" comes first and is shared; next_'s own pack holds only its "b".
  flip(pack_of(next_, ".data"), 100);
  VerifyReport own = verify();
  EXPECT_TRUE(whole(own, base_));
  EXPECT_FALSE(whole(own, next_));
  ASSERT_EQ(own.damage.size(), 1u);
  EXPECT_EQ(own.damage[0].backups, std::vector<std::string>{next_.text});
  flip(pack_of(next_, ".data"), 100);
  flip(pack_of(base_, ".data"), 100);
  VerifyReport shared = verify();
  EXPECT_FALSE(whole(shared, base_));
  EXPECT_FALSE(whole(shared, next_));
  ASSERT_EQ(shared.damage.size(), 1u);
  EXPECT_EQ(shared.damage[0].backups, (std::vector<std::string>{base_.text, next_.text}));
}

TEST_F(VerifyTest, a_reference_to_other_content_is_found_though_every_frame_is_whole) {
  // A tree that says that "x" is what "b" is, under another hash.
  BackupId id = tiny_.new_id();
  PackNumbers numbers(id);
  PackNodeSink nodes(tiny_.repo, numbers);
  DirectoryWriter directory(nodes);
  TreeReader reader(tiny_.repo);
  Entry entry = *reader.find(read_manifest(tiny_.repo, next_)->root, "b");
  entry.blocks[0].hash[0] ^= 1;
  ASSERT_TRUE(directory.add(entry));
  NodeRef root = *directory.finish();
  ASSERT_TRUE(nodes.finish());
  Manifest manifest = tiny_manifest(id, root, {1}, {1}, {});
  ASSERT_TRUE(write_manifest(tiny_.repo, manifest));
  ASSERT_TRUE(write_card(tiny_.repo, manifest.card));
  VerifyReport report = verify();
  EXPECT_FALSE(whole(report, id));
  EXPECT_TRUE(whole(report, next_));
  ASSERT_EQ(report.damage.size(), 1u);
  EXPECT_EQ(report.damage[0].kind, DamageKind::inconsistent);
}

TEST_F(VerifyTest, small_batches_of_references_find_the_same) {
  options_.reference_budget = 1;
  EXPECT_TRUE(verify().ok());
  flip(pack_of(next_, ".data"), 100);
  VerifyReport report = verify();
  EXPECT_FALSE(whole(report, next_));
  EXPECT_TRUE(whole(report, base_));
}

TEST_F(VerifyTest, conflicting_wal_is_damage) {  // T46
  auto file = WalFileName::parse(SegmentName{{1}, 0, 1}.to_string());
  codec::Hash128 hash = tiny_.repo.keys().name_hash(file->text, codec::hash128(as_bytes("other")));
  ASSERT_TRUE(tiny_.repo.put(ObjectKind::wal, wal_object_name(*file, hash), as_bytes("other")));
  VerifyReport report = verify();
  ASSERT_EQ(report.damage.size(), 1u);
  EXPECT_EQ(report.damage[0].kind, DamageKind::conflict);
}

TEST_F(VerifyTest, unknown_objects_and_orphans_are_reported_and_are_not_damage) {
  ASSERT_TRUE(tiny_.memory.put("something", as_bytes("x")));
  ASSERT_TRUE(tiny_.memory.put(tiny_.repo.name("cards/not-an-id"), as_bytes("x")));
  BackupId orphan = tiny_.new_id();
  ASSERT_TRUE(store_tiny_tree(tiny_.repo, orphan, {{"a", tiny_content(7, 100)}}, nullptr));
  VerifyReport report = verify();
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.unknown, (std::vector<std::string>{tiny_.repo.name("cards/not-an-id"), "something"}));
  EXPECT_EQ(report.unreferenced.size(), 2u);
}

TEST_F(VerifyTest, what_is_expiring_does_not_count) {
  flip(pack_of(next_, ".nodes"), 100);
  Tombstone stone;
  stone.created = {tiny_.clock.unix_us()};
  stone.backups = {next_};
  ASSERT_TRUE(write_tombstone(tiny_.repo, stone));
  VerifyReport report = verify();
  ASSERT_EQ(report.backups.size(), 1u);
  EXPECT_TRUE(whole(report, base_));
  EXPECT_FALSE(report.ok()) << "the object is damaged all the same";
}

TEST_F(VerifyTest, it_holds_a_lease_while_it_reads_and_ends_it) {
  options_.take_lease = true;
  EXPECT_TRUE(verify().ok());
  auto leases = read_leases(tiny_.repo);
  ASSERT_EQ(leases->size(), 1u);
  EXPECT_TRUE(leases->front().ended);
  EXPECT_EQ(leases->front().record.references, (std::vector<BackupId>{base_, next_}));
}

TEST_F(VerifyTest, one_cluster_can_be_chosen) {
  options_.cluster = "main";
  EXPECT_EQ(verify().backups.size(), 2u);
  options_.cluster = "other";
  EXPECT_EQ(verify_repository(tiny_.repository, options_).error().kind, ErrorKind::not_found);
}

TEST_F(VerifyTest, a_stop_is_obeyed) {
  StopToken stop;
  stop.request();
  options_.stop = &stop;
  EXPECT_EQ(verify_repository(tiny_.repository, options_).error().kind, ErrorKind::cancelled);
}

TEST_F(VerifyTest, a_list_of_damage_has_an_end_and_says_so) {
  for (const std::string& name : all_objects()) {
    if (name.find("/wal/") != std::string::npos) flip(name, 70);
  }
  options_.damage_limit = 1;
  VerifyReport report = verify();
  EXPECT_EQ(report.damage.size(), 1u);
  EXPECT_EQ(report.damage_not_listed, 1u);
  EXPECT_FALSE(report.ok());
}

TEST(VerifyEncryptedTest, an_encrypted_repository_is_verified_too) {
  TempDir dir = *TempDir::make();
  KeySource key{KeySourceKind::key_file, dir / "key"};
  ASSERT_TRUE(create_key_file(key.path));
  TinyRepo tiny(key);
  BackupId id = *tiny.back_up({{"a", tiny_content(1, 900)}});
  EXPECT_TRUE(verify_repository(tiny.repository, {})->ok());
  std::string pack = tiny.repo.name(pack_name({id, 1}, PackKind::data));
  Bytes bytes = *tiny.memory.get(pack, 1 << 20);
  bytes[200] ^= 1;
  ASSERT_TRUE(tiny.memory.overwrite(pack, bytes));
  auto report = verify_repository(tiny.repository, {});
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->ok());
  EXPECT_FALSE(report->backups.at(0).whole);
}

}  // namespace
}  // namespace lifeboat::repo
