#include "repo/object.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/repo_fixture.h"
#include "util/files.h"

namespace lifeboat::repo {
namespace {

using codec::Compression;

class ObjectTest : public ::testing::TestWithParam<bool> {
 protected:
  ObjectTest() : dir_(*TempDir::make()) {
    if (!GetParam()) return;
    KeySource source{KeySourceKind::key_file, dir_ / "key"};
    EXPECT_TRUE(create_key_file(source.path));
    keys_ = std::move(create_keys(memory_, source)->keys);
  }
  Bytes stored(const std::string& name) { return *memory_.get(name, 1 << 30); }

  TempDir dir_;
  storage::MemoryStore memory_;
  Keyring keys_;
};

INSTANTIATE_TEST_SUITE_P(Seals, ObjectTest, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "encrypted" : "plain"; });

TEST_P(ObjectTest, what_was_put_is_got) {
  for (size_t size : {size_t{0}, size_t{1}, size_t{1} << 20, (size_t{1} << 20) + 1, size_t{5} << 20}) {
    for (auto compression : {Compression::none, Compression::zstd, Compression::lz4}) {
      std::string name = cat("o/", size, "-", codec::to_string(compression));
      Bytes content = tiny_content(size, size);
      ASSERT_TRUE(put_object(memory_, keys_, ObjectKind::evidence, name, content, {compression, 1}));
      auto got = get_object(memory_, keys_, ObjectKind::evidence, name, size);
      ASSERT_TRUE(got) << got.error().to_string();
      EXPECT_EQ(*got, content);
    }
  }
}

TEST_P(ObjectTest, every_flipped_bit_is_noticed) {
  Bytes content = tiny_content(3, 300);
  ASSERT_TRUE(put_object(memory_, keys_, ObjectKind::card, "o", content));
  Bytes good = stored("o");
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    ASSERT_TRUE(memory_.overwrite("o", bad));
    auto got = get_object(memory_, keys_, ObjectKind::card, "o", 1 << 20);
    ASSERT_FALSE(got) << "bit " << bit;
    EXPECT_EQ(got.error().object, "o") << "bit " << bit;
    EXPECT_NE(got.error().kind, ErrorKind::wrong_key) << "bit " << bit;
  }
}

TEST_P(ObjectTest, every_truncation_and_every_appended_byte_is_noticed) {
  ASSERT_TRUE(put_object(memory_, keys_, ObjectKind::card, "o", tiny_content(4, 100)));
  Bytes good = stored("o");
  for (size_t size = 0; size < good.size(); ++size) {
    ASSERT_TRUE(memory_.overwrite("o", Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(size))));
    EXPECT_FALSE(get_object(memory_, keys_, ObjectKind::card, "o", 1 << 20)) << size;
  }
  Bytes longer = good;
  longer.push_back(0);
  ASSERT_TRUE(memory_.overwrite("o", longer));
  EXPECT_FALSE(get_object(memory_, keys_, ObjectKind::card, "o", 1 << 20));
}

TEST_P(ObjectTest, an_object_cannot_stand_under_another_name_or_kind) {
  ASSERT_TRUE(put_object(memory_, keys_, ObjectKind::card, "a", tiny_content(5, 100)));
  ASSERT_TRUE(memory_.put("b", stored("a")));
  auto moved = get_object(memory_, keys_, ObjectKind::card, "b", 1000);
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.error().kind, ErrorKind::damaged);
  auto other_kind = get_object(memory_, keys_, ObjectKind::manifest, "a", 1000);
  ASSERT_FALSE(other_kind);
  EXPECT_EQ(other_kind.error().kind, ErrorKind::damaged);
}

TEST_P(ObjectTest, frames_cannot_be_exchanged_within_an_object) {
  auto writer = FrameWriter::create(memory_, keys_, ObjectKind::wal, "o", {Compression::none, 0});
  ASSERT_TRUE(writer);
  std::vector<FramePlace> places;
  for (int i = 0; i < 3; ++i)
    places.push_back(*writer->append(tiny_content(i, 50), i == 2 ? FrameEnd::last : FrameEnd::more));
  ASSERT_TRUE(writer->commit());
  Bytes bytes = stored("o");
  std::swap_ranges(bytes.begin() + static_cast<ptrdiff_t>(places[0].offset),
                   bytes.begin() + static_cast<ptrdiff_t>(places[0].offset + places[0].length),
                   bytes.begin() + static_cast<ptrdiff_t>(places[1].offset));
  ASSERT_TRUE(memory_.overwrite("o", bytes));
  EXPECT_FALSE(get_object(memory_, keys_, ObjectKind::wal, "o", 1000));
}

TEST_P(ObjectTest, the_same_content_written_again_has_another_salt) {  // T47
  std::set<Bytes> salts;
  for (int i = 0; i < 20; ++i) {
    std::string name = cat("o", i);
    ASSERT_TRUE(put_object(memory_, keys_, ObjectKind::card, name, tiny_content(6, 100)));
    Bytes bytes = stored(name);
    salts.insert(Bytes(bytes.begin() + 32, bytes.begin() + 64));
  }
  EXPECT_EQ(salts.size(), 20u);
}

TEST_P(ObjectTest, a_larger_object_than_expected_is_damaged) {
  ASSERT_TRUE(put_object(memory_, keys_, ObjectKind::card, "o", tiny_content(7, 101)));
  auto got = get_object(memory_, keys_, ObjectKind::card, "o", 100);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::damaged);
}

TEST_P(ObjectTest, a_frame_that_lies_past_the_end_is_damaged) {
  ASSERT_TRUE(put_object(memory_, keys_, ObjectKind::card, "o", tiny_content(7, 101)));
  auto reader = FrameReader::open(memory_, keys_, ObjectKind::card, "o");
  ASSERT_TRUE(reader);
  Frame frame;
  for (FramePlace place :
       {FramePlace{0, 68, 0xffffffff}, FramePlace{0, ~uint64_t{0}, 100}, FramePlace{0, 68, 3}}) {
    auto read = reader->read(place, frame);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind, ErrorKind::damaged);
  }
}

TEST(EncryptedObjectTest, plain_and_encrypted_repositories_do_not_mix) {
  TempDir dir = *TempDir::make();
  storage::MemoryStore memory;
  KeySource source{KeySourceKind::key_file, dir / "key"};
  ASSERT_TRUE(create_key_file(source.path));
  Keyring keys = std::move(create_keys(memory, source)->keys);
  ASSERT_TRUE(put_object(memory, Keyring(), ObjectKind::card, "plain", tiny_content(8, 10)));
  ASSERT_TRUE(put_object(memory, keys, ObjectKind::card, "sealed", tiny_content(8, 10)));
  // Else anybody who may write could plant unencrypted objects.
  EXPECT_FALSE(get_object(memory, keys, ObjectKind::card, "plain", 100));
  EXPECT_FALSE(get_object(memory, Keyring(), ObjectKind::card, "sealed", 100));
}

TEST(EncryptedObjectTest, content_does_not_show) {
  TempDir dir = *TempDir::make();
  storage::MemoryStore memory;
  KeySource source{KeySourceKind::key_file, dir / "key"};
  ASSERT_TRUE(create_key_file(source.path));
  Keyring keys = std::move(create_keys(memory, source)->keys);
  std::string secret = "a very recognisable customer name";
  ASSERT_TRUE(put_object(memory, keys, ObjectKind::card, "o", as_bytes(secret), {Compression::none, 0}));
  Bytes bytes = *memory.get("o", 1000);
  EXPECT_EQ(as_text(bytes).find("recognisable"), std::string_view::npos);
}

}  // namespace
}  // namespace lifeboat::repo
