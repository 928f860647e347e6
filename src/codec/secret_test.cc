#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <thread>
#include <vector>

#include "codec/codec.h"
#include "util/strings.h"

namespace lifeboat::codec {
namespace {

Bytes counting(uint8_t from, size_t count) {
  Bytes bytes(count);
  for (uint8_t& byte : bytes) byte = from++;
  return bytes;
}

TEST(SecretKey, new_key_is_zeros_even_where_another_key_was_before) {
  for (int round = 0; round < 300; ++round) {
    SecretKey used(Bytes(32, 0xee));
  }
  EXPECT_EQ(to_hex(SecretKey().view()), std::string(64, '0'));
}

TEST(SecretKey, moves_clones_and_swaps) {
  SecretKey one(counting(1, 32));
  SecretKey two = std::move(one);
  EXPECT_EQ(to_hex(two.view()), to_hex(counting(1, 32)));
  SecretKey three = two.clone();
  EXPECT_NE(three.view().data(), two.view().data());
  EXPECT_EQ(to_hex(three.view()), to_hex(two.view()));
  three = SecretKey(counting(9, 32));
  EXPECT_EQ(to_hex(three.view()), to_hex(counting(9, 32)));
}

TEST(SecretKey, many_live_keys_do_not_share_memory) {
  std::vector<SecretKey> keys;
  std::set<const uint8_t*> places;
  for (int i = 0; i < 1000; ++i) {
    keys.push_back(SecretKey::random());
    places.insert(keys.back().view().data());
  }
  EXPECT_EQ(places.size(), 1000u);
}

TEST(SecretKey, threads_may_make_and_drop_keys_at_once) {
  std::vector<std::thread> threads;
  for (uint8_t t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 2000; ++i) {
        SecretKey key(Bytes(32, t));
        for (uint8_t byte : key.view()) ASSERT_EQ(byte, t);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(SecretKeyDeathTest, wrong_size_and_use_after_move_are_bugs) {
  EXPECT_DEATH(SecretKey(Bytes(31)), "internal error");
  EXPECT_DEATH(
      {
        SecretKey key;
        SecretKey other = std::move(key);
        (void)key.view();  // NOLINT(bugprone-use-after-move,clang-analyzer-cplusplus.Move)
      },
      "internal error");
}

TEST(RandomBytes, fill_the_whole_span_and_differ) {
  Bytes one(100'000, 0);
  Bytes two(100'000, 0);
  random_bytes(one);
  random_bytes(two);
  EXPECT_NE(one, two);
  for (size_t at = 0; at < one.size(); at += 1000) {  // 1,000 zero bytes in a row do not happen
    EXPECT_NE(
        Bytes(one.begin() + static_cast<ptrdiff_t>(at), one.begin() + static_cast<ptrdiff_t>(at) + 1000),
        Bytes(1000, 0));
  }
  random_bytes({});
}

TEST(ForbidCoreFiles, sets_the_limit_and_the_dumpable_flag) {
  pid_t child = fork();
  if (child == 0) {
    forbid_core_files();
    rlimit limit{};
    getrlimit(RLIMIT_CORE, &limit);
    _exit(limit.rlim_cur == 0 && limit.rlim_max == 0 && prctl(PR_GET_DUMPABLE) == 0 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// RFC 5869, test case 1, on the two HMAC steps that hkdf() consists of (its input key is not 32 bytes long).
TEST(Hkdf, extract_and_expand_follow_the_rfc) {
  Digest256 prk = hmac_sha256(counting(0, 13), Bytes(22, 0x0b));
  EXPECT_EQ(to_hex(prk), "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
  Bytes expand = counting(0xf0, 10);
  expand.push_back(1);
  EXPECT_EQ(to_hex(hmac_sha256(prk, expand)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
}

// Computed with Python's hmac module.
TEST(Hkdf, known_answer_and_dependence_on_every_input) {
  SecretKey key(counting(0, 32));
  Bytes salt = counting(0x60, 32);
  SecretKey derived = hkdf(key, salt, "lifeboat test");
  EXPECT_EQ(to_hex(derived.view()), "ec88cd6de45f9e8a60a34e9d084b3a95ecdd1e43886d4cc47929d5d2800ed88f");
  EXPECT_NE(to_hex(hkdf(key, salt, "lifeboat tesu").view()), to_hex(derived.view()));
  EXPECT_NE(to_hex(hkdf(key, counting(0x61, 32), "lifeboat test").view()), to_hex(derived.view()));
  EXPECT_NE(to_hex(hkdf(derived, salt, "lifeboat test").view()), to_hex(derived.view()));
}

// RFC 7914, section 12, third vector (N = 16384, r = 8, p = 1): the first 32 of its 64 bytes.
TEST(Scrypt, known_answer) {
  auto key = scrypt(as_bytes("pleaseletmein"), as_bytes("SodiumChloride"), 14);
  ASSERT_TRUE(key.has_value());
  EXPECT_EQ(to_hex(key->view()), "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2");
}

TEST(Scrypt, cost_from_a_damaged_slot_is_refused) {
  for (int cost : {-1, 0, 21, 40, 64, 1000}) {
    auto key = scrypt(as_bytes("secret"), as_bytes("salt"), cost);
    ASSERT_FALSE(key.has_value()) << cost;
    EXPECT_EQ(key.error().kind, ErrorKind::damaged);
    EXPECT_EQ(key.error().to_string().find("secret"), std::string::npos);
  }
}

TEST(Scrypt, empty_passphrase_and_salt_are_allowed) {
  auto key = scrypt({}, {}, 4);
  ASSERT_TRUE(key.has_value());
  auto other = scrypt(as_bytes("x"), {}, 4);
  ASSERT_TRUE(other.has_value());
  EXPECT_NE(to_hex(key->view()), to_hex(other->view()));
}

}  // namespace
}  // namespace lifeboat::codec
