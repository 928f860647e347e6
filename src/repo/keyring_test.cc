#include "repo/keyring.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "repo/object.h"
#include "storage/memory/memory_store.h"
#include "util/files.h"
#include "util/strings.h"

namespace lifeboat::repo {
namespace {

class KeyringTest : public ::testing::Test {
 protected:
  KeyringTest() : dir_(*TempDir::make()) {}
  KeySource key_file(std::string_view name) {
    KeySource source{KeySourceKind::key_file, dir_ / name};
    EXPECT_TRUE(create_key_file(source.path));
    return source;
  }
  KeySource passphrase(std::string_view name, std::string_view text) {
    KeySource source{KeySourceKind::passphrase_file, dir_ / name};
    EXPECT_TRUE(write_file_durable(source.path, as_bytes(text), 0600));
    return source;
  }

  // Makes the keys of the repository in memory_.
  Keyring create(const KeySource& source) { return create_in(memory_, source); }
  Keyring create_in(storage::Store& store, const KeySource& source) {
    auto made = create_keys(store, source);
    EXPECT_TRUE(made) << made.error().to_string();
    check_ = made->keys.check();
    return std::move(made->keys);
  }
  Result<Keyring> open(const KeySource& source) { return open_keys(memory_, source, check_); }

  TempDir dir_;
  storage::MemoryStore memory_;
  std::string check_;
};

TEST_F(KeyringTest, a_key_file_is_private_and_is_never_replaced) {
  KeySource source = key_file("key");
  EXPECT_EQ(stat_path(source.path)->mode, 0600u);
  auto again = create_key_file(source.path);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::conflict);
  EXPECT_TRUE(read_key_file(source.path));
}

TEST_F(KeyringTest, a_key_file_that_others_can_read_is_refused) {
  KeySource source = key_file("key");
  ASSERT_EQ(chmod(source.path.c_str(), 0640), 0);
  auto read = read_key_file(source.path);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::permission);
}

TEST_F(KeyringTest, a_passphrase_file_that_others_can_read_is_refused) {
  KeySource source = passphrase("phrase", "correct horse\n");
  create(source);
  ASSERT_EQ(chmod(source.path.c_str(), 0644), 0);
  auto opened = open(source);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::permission);
}

TEST_F(KeyringTest, a_file_that_is_no_key_file_is_refused_without_showing_it) {
  for (std::string_view text : {"", "lifeboat-key-1", "lifeboat-key-1 abcdef", "hunter2"}) {
    std::string path = dir_ / "not-a-key";
    ASSERT_TRUE(write_file_durable(path, as_bytes(text), 0600));
    auto read = read_key_file(path);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind, ErrorKind::config);
    EXPECT_EQ(read.error().to_string().find("hunter2"), std::string::npos);
  }
}

TEST_F(KeyringTest, a_slot_opens_with_its_own_key_only) {
  KeySource right = key_file("right");
  KeySource wrong = key_file("wrong");
  create(right);
  EXPECT_TRUE(open(right));
  auto opened = open(wrong);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().kind, ErrorKind::wrong_key);
}

TEST_F(KeyringTest, every_slot_gives_the_same_keys) {  // E2: escrow
  KeySource file = key_file("key");
  KeySource escrow = passphrase("escrow", "correct horse battery staple\n");
  Keyring made = create(file);
  auto slot = add_slot(memory_, made, escrow);
  ASSERT_TRUE(slot);
  EXPECT_EQ(slot->kind, "passphrase");
  ASSERT_TRUE(put_object(memory_, made, ObjectKind::card, "o", as_bytes("content")));
  for (const KeySource& source : {file, escrow}) {
    auto keys = open(source);
    ASSERT_TRUE(keys) << keys.error().to_string();
    EXPECT_TRUE(get_object(memory_, *keys, ObjectKind::card, "o", 100));
    EXPECT_EQ(keys->name_hash("segment", {}), made.name_hash("segment", {}));
  }
  EXPECT_EQ(list_slots(memory_)->size(), 2u);
  auto wrong = open(passphrase("wrong", "correct horse"));
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().kind, ErrorKind::wrong_key);
}

TEST_F(KeyringTest, a_slot_with_other_keys_is_passed_over) {  // of an init that came to nothing
  KeySource source = key_file("key");
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(create_keys(memory_, source));
  Keyring made = create(source);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(create_keys(memory_, source));
  auto opened = open(source);
  ASSERT_TRUE(opened) << opened.error().to_string();
  EXPECT_EQ(opened->name_hash("segment", {}), made.name_hash("segment", {}));
  EXPECT_EQ(slots_opened_by(memory_, source, check_)->size(), 1u);
}

TEST_F(KeyringTest, line_ends_after_a_passphrase_do_not_count) {
  Keyring made = create(passphrase("a", "secret\r\n"));
  EXPECT_TRUE(open(passphrase("b", "secret")));
  EXPECT_FALSE(open(passphrase("c", " secret")));
}

TEST_F(KeyringTest, every_flipped_bit_of_a_slot_is_noticed) {
  KeySource source = key_file("key");
  create(source);
  std::string name;
  ASSERT_TRUE(memory_.list("keys/", [&](const storage::ObjectInfo& info) -> Status {
    name = info.name;
    return {};
  }));
  Bytes good = *memory_.get(name, 1 << 20);
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    ASSERT_TRUE(memory_.overwrite(name, bad));
    EXPECT_FALSE(open(source)) << "bit " << bit;
  }
}

TEST_F(KeyringTest, name_hashes_depend_on_key_name_and_content) {
  Keyring keys = create(key_file("key"));
  storage::MemoryStore other_store;
  Keyring other = create_in(other_store, key_file("other"));
  codec::Hash128 content = codec::hash128(as_bytes("content"));
  EXPECT_EQ(keys.name_hash("a", content), keys.name_hash("a", content));
  EXPECT_NE(keys.name_hash("a", content), keys.name_hash("b", content));
  EXPECT_NE(keys.name_hash("a", content), keys.name_hash("a", {}));
  EXPECT_NE(keys.name_hash("a", content), other.name_hash("a", content));
  EXPECT_NE(keys.name_hash("a", content), Keyring().name_hash("a", content));
}

TEST_F(KeyringTest, a_key_that_is_not_held_is_named) {
  Keyring keys = create(key_file("key"));
  auto key = keys.object_key(9, as_bytes("salt"));
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().kind, ErrorKind::wrong_key);
  EXPECT_NE(key.error().to_string().find("key 9"), std::string::npos);
}

TEST(CheckLineTest, a_changed_text_is_damaged) {
  std::string text = with_check_line("{\"a\":1}");
  EXPECT_EQ(*strip_check_line("o", as_bytes(text)), "{\"a\":1}");
  for (size_t i = 0; i < text.size(); ++i) {
    std::string bad = text;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    EXPECT_FALSE(strip_check_line("o", as_bytes(bad))) << i;
  }
  EXPECT_FALSE(strip_check_line("o", as_bytes("")));
  EXPECT_FALSE(strip_check_line("o", as_bytes(text + "x")));
}

}  // namespace
}  // namespace lifeboat::repo
