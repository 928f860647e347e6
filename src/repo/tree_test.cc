// Trees and packs: what is written comes back, sharing is by node, and no flipped bit goes unnoticed.
#include "repo/tree.h"

#include <gtest/gtest.h>

#include <random>

#include "repo/pack.h"
#include "tests/support/repo_fixture.h"

namespace lifeboat::repo {
namespace {

BlockRef ref(const PackId& pack, uint32_t frame, uint32_t count) {
  BlockRef made;
  made.frame = {pack, {frame, 64 + uint64_t{frame} * 1000, 900}};
  made.count = count;
  made.hash[0] = static_cast<uint8_t>(frame);
  return made;
}

Entry file(std::string name, std::vector<BlockRef> blocks = {}) {
  Entry entry;
  entry.name = std::move(name);
  entry.mode = 0600;
  entry.owner = "postgres";
  entry.group = "postgres";
  entry.mtime_us = -5;
  entry.blocks = std::move(blocks);
  return entry;
}

std::vector<std::string> names_of(TinyRepo& tiny, const NodeRef& directory) {
  TreeReader reader(tiny.repo);
  std::vector<std::string> names;
  EXPECT_TRUE(reader.list(directory, [&](const Entry& entry) -> Status {
    names.push_back(entry.name);
    return {};
  }));
  return names;
}

TEST(Tree, entries_come_back_as_they_were_written) {
  PackId pack{*BackupId::parse("20261120T105625Z-4f2a9c"), 7};
  Entry small = file("16384", {ref(pack, 0, 32), ref(pack, 1, 5)});
  small.size = 37 * 8192 - 100;
  Entry large = file("16385");
  large.leaves = {{{pack, {3, 999, 50}}, {}}, {{pack, {4, 1100, 60}}, {}}};
  Entry link;
  link.name = "link";
  link.type = EntryType::symlink;
  link.target = "../elsewhere";
  auto decoded = decode_entries("node", encode_entries({small, large, link}));
  ASSERT_TRUE(decoded);
  ASSERT_EQ(decoded->size(), 3u);
  EXPECT_EQ((*decoded)[0].blocks, small.blocks);
  EXPECT_EQ((*decoded)[0].size, small.size);
  EXPECT_EQ((*decoded)[0].mtime_us, -5);
  EXPECT_EQ((*decoded)[1].leaves, large.leaves);
  EXPECT_EQ((*decoded)[2].target, "../elsewhere");
}

TEST(Tree, every_truncation_of_a_node_is_refused) {
  PackId pack{*BackupId::parse("20261120T105625Z-4f2a9c"), 7};
  Bytes node = encode_entries({file("a", {ref(pack, 0, 32)}), file("b")});
  for (size_t size = 0; size < node.size(); ++size) {
    EXPECT_FALSE(decode_entries("node", ByteView(node).first(size))) << size;
  }
  node.push_back(0);
  EXPECT_FALSE(decode_entries("node", node)) << "a byte too many";
}

TEST(Tree, names_that_leave_the_directory_are_refused) {
  for (const char* name : {"", ".", "..", "a/b"}) {
    Bytes node = encode_entries({file(name)});
    EXPECT_FALSE(decode_entries("node", node)) << name;
  }
}

TEST(Tree, a_directory_of_thousands_lists_in_order_and_shares_all_but_the_changed_chunk) {
  TinyRepo tiny;
  BackupId id = tiny.new_id();
  PackNumbers numbers(id);
  PackNodeSink sink(tiny.repo, numbers);
  class Counting : public NodeSink {
   public:
    explicit Counting(NodeSink& inner) : inner_(inner) {}
    Result<NodeRef> write(ByteView plain) override {
      hashes.push_back(codec::hash128(plain));
      return inner_.write(plain);
    }
    std::vector<codec::Hash128> hashes;

   private:
    NodeSink& inner_;
  };
  auto build = [&](const std::string& without, Counting& counting) {
    DirectoryWriter writer(counting);
    for (int i = 0; i < 5000; ++i) {
      std::string name = cat(100000 + i);
      if (name == without) continue;
      EXPECT_TRUE(writer.add(file(name)));
    }
    return writer.finish();
  };
  Counting first(sink);
  Counting second(sink);
  auto all = build("", first);
  auto less = build("102500", second);
  ASSERT_TRUE(all && less);
  ASSERT_TRUE(sink.finish());
  EXPECT_EQ(names_of(tiny, *all).size(), 5000u);
  EXPECT_EQ(names_of(tiny, *less).size(), 4999u);
  size_t fresh = 0;
  for (const auto& hash : second.hashes) {
    if (std::find(first.hashes.begin(), first.hashes.end(), hash) == first.hashes.end()) ++fresh;
  }
  EXPECT_GT(first.hashes.size(), 10u);
  EXPECT_LE(fresh, 3u) << "one chunk (two when the removed name ended one) and the directory";
}

TEST(Tree, a_large_file_is_mapped_in_leaves_by_position) {
  TinyRepo tiny;
  BackupId id = tiny.new_id();
  PackNumbers numbers(id);
  PackNodeSink sink(tiny.repo, numbers);
  PackId pack{id, 1};
  std::vector<BlockRef> refs;
  for (uint32_t i = 0; i < 3 * kMapLeafBlocks / 32 - 1; ++i) refs.push_back(ref(pack, i, 32));
  Entry entry = file("16384");
  ASSERT_TRUE(write_block_map(sink, refs, entry));
  ASSERT_TRUE(sink.finish());
  EXPECT_EQ(entry.leaves.size(), 3u);
  TreeReader reader(tiny.repo);
  std::vector<BlockRef> back;
  std::vector<uint64_t> firsts;
  ASSERT_TRUE(reader.blocks(entry, [&](uint64_t first, const std::vector<BlockRef>& run) -> Status {
    firsts.push_back(first);
    back.insert(back.end(), run.begin(), run.end());
    return {};
  }));
  EXPECT_EQ(back, refs);
  EXPECT_EQ(firsts, (std::vector<uint64_t>{0, kMapLeafBlocks, 2 * kMapLeafBlocks}));
}

// T36: a leaf in the middle that is short would shift everything behind it.
TEST(Tree, a_leaf_that_is_not_full_before_the_last_is_refused) {
  TinyRepo tiny;
  BackupId id = tiny.new_id();
  PackNumbers numbers(id);
  PackNodeSink sink(tiny.repo, numbers);
  PackId pack{id, 1};
  Entry entry = file("16384");
  for (int i = 0; i < 2; ++i) {
    auto leaf = sink.write(encode_leaf({ref(pack, 0, 32)}));
    ASSERT_TRUE(leaf);
    entry.leaves.push_back(*leaf);
  }
  ASSERT_TRUE(sink.finish());
  TreeReader reader(tiny.repo);
  auto read = reader.blocks(entry, [](uint64_t, const std::vector<BlockRef>&) -> Status { return {}; });
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::damaged);
}

TEST(BlockRef, parts_keep_the_hash_of_the_whole) {
  Bytes plain(10 * kTinyBlock);
  for (size_t i = 0; i < plain.size(); ++i) plain[i] = static_cast<uint8_t>(i * 7 + i / 256);
  ByteView run = ByteView(plain).subspan(2 * kTinyBlock, 6 * kTinyBlock);
  BlockRef whole{{{BackupId{"20261120T105625Z-4f2a9c"}, 1}, {0, 64, 100}}, 2, 6, codec::hash128(run)};
  ASSERT_TRUE(whole.whole());
  BlockRef middle = whole.part(1, 4);
  BlockRef end = middle.part(3, 1);
  EXPECT_EQ(end.first_block, 6u);
  EXPECT_EQ(end.count, 1u);
  EXPECT_EQ(end.before, 4u);
  EXPECT_EQ(end.after, 1u);
  EXPECT_EQ(whole.part(0, 6), whole);
  for (const BlockRef& ref : {whole, middle, end}) {
    auto bytes = ref.hashed(plain, kTinyBlock);
    ASSERT_TRUE(bytes);
    EXPECT_EQ(codec::hash128(*bytes), ref.hash);
    EXPECT_FALSE(ref.hashed(ByteView(plain).first(7 * kTinyBlock), kTinyBlock)) << "not all there";
  }
  auto read = decode_leaf("leaf", encode_leaf({whole, middle, end}));
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(*read, (std::vector<BlockRef>{whole, middle, end}));
  end.before = 7;  // more than there is in front of it
  EXPECT_FALSE(decode_leaf("leaf", encode_leaf({end})));
}

TEST(Pack, frames_come_back_and_the_footer_says_what_they_are) {
  TinyRepo tiny;
  BackupId id = tiny.new_id();
  PackNumbers numbers(id);
  PackWriter writer(tiny.repo, numbers, PackKind::data, {codec::Compression::zstd, 1},
                    {.bytes = 4000, .frames = 100});
  std::vector<FrameRef> refs;
  auto hash = [](int number) { return codec::hash128(as_bytes(cat(number))); };
  for (int i = 0; i < 40; ++i) {
    const BlockRun runs[] = {{static_cast<uint64_t>(i), 1, hash(i)},
                             {static_cast<uint64_t>(i) + 10, 3, hash(i + 100)}};
    auto stored = writer.append(Bytes(500, static_cast<uint8_t>(i)),
                                {cat("pgdata/base/", i / 10), runs, Lsn{uint64_t{1} << i}});
    ASSERT_TRUE(stored);
    refs.push_back(*stored);
  }
  ASSERT_TRUE(writer.finish());
  PackReaders readers(tiny.repo, PackKind::data, 2);
  Frame frame;
  for (int i = 39; i >= 0; --i) {
    ASSERT_TRUE(readers.read(refs[static_cast<size_t>(i)], frame));
    EXPECT_EQ(frame.plain, Bytes(500, static_cast<uint8_t>(i)));
  }
  auto reader = readers.reader(refs[0].pack);
  ASSERT_TRUE(reader);
  auto footer = read_pack_footer(**reader);
  ASSERT_TRUE(footer);
  EXPECT_EQ(footer->frames[3].path, "pgdata/base/0");
  EXPECT_EQ(footer->frames[3].runs, (std::vector<BlockRun>{{3, 1, hash(3)}, {13, 3, hash(103)}}));
  EXPECT_EQ(footer->frames[3].plain_size, 500u);
  EXPECT_EQ(footer->frames[3].newest, Lsn{8});
  EXPECT_EQ(footer->frames[3].place.offset, refs[3].place.offset);
}

TEST(Pack, every_flipped_bit_is_noticed_when_the_pack_is_read_whole) {
  TinyRepo tiny;
  BackupId id = tiny.new_id();
  PackNumbers numbers(id);
  PackWriter writer(tiny.repo, numbers, PackKind::data, {codec::Compression::zstd, 1});
  const BlockRun runs[] = {{0, 1, {}}, {1, 1, {}}};
  ASSERT_TRUE(writer.append(Bytes(300, 1), {"a", {runs, 1}}));
  ASSERT_TRUE(writer.append(Bytes(300, 2), {"a", {runs + 1, 1}, kDoubtful}));
  ASSERT_TRUE(writer.finish());
  std::string name = tiny.repo.name(pack_name({id, 1}, PackKind::data));
  Bytes good = *tiny.memory.get(name, 1 << 20);
  auto whole = [&]() -> Status {
    TRY_ASSIGN(FrameReader reader,
               FrameReader::open(tiny.repo.store(), tiny.repo.keys(), ObjectKind::data_pack, name));
    Frame frame;
    do {
      TRY(reader.next(frame));
    } while (!frame.last);
    TRY(reader.expect_end(kPackTrailerSize));
    return read_pack_footer(reader) ? Status() : Status(make_error(ErrorKind::damaged, name, "footer"));
  };
  ASSERT_TRUE(whole());
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    ASSERT_TRUE(tiny.memory.overwrite(name, bad));
    EXPECT_FALSE(whole()) << "bit " << bit;
  }
}

TEST(Manifest, comes_back_with_names_that_are_not_utf8) {
  TinyRepo tiny;
  Manifest manifest = tiny_manifest(
      tiny.new_id(), {{{*BackupId::parse("20261120T105625Z-4f2a9c"), 1}, {}}, {}}, {1}, {2}, {});
  manifest.backup_label = "START WAL LOCATION: 0/2000028\nLABEL: caf\xe9\n";
  manifest.tablespaces = {{16390, "ts", "/srv/\xff", false, 5}};
  manifest.tables = {{"db", "public", "t\xfe", 10, 1, 2, 3, 4}};
  manifest.settings = {{"port", "5432"}};
  auto back = decode_manifest("m", as_bytes(encode_manifest(manifest)));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->backup_label, manifest.backup_label);
  EXPECT_EQ(back->tablespaces[0].location, "/srv/\xff");
  EXPECT_EQ(back->tables[0].table, "t\xfe");
  EXPECT_EQ(back->card.id, manifest.card.id);
  EXPECT_FALSE(decode_manifest("m", as_bytes("{}")));
  EXPECT_FALSE(decode_manifest("m", as_bytes("[1")));
}

}  // namespace
}  // namespace lifeboat::repo
