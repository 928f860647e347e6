#include <lz4.h>
#include <zstd.h>

#include <algorithm>
#include <vector>

#include "codec/codec.h"
#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::codec {

namespace {

struct FreeZstd {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

Error damaged(std::string message) {
  return make_error(ErrorKind::damaged, "compressed data", std::move(message));
}

// Data that hardly compresses costs zstd twice as much at its ordinary levels as at this one, which leaves
// literals as they are, and is hardly smaller for it (bench/full's noise: 0.3 %). Other data is (pgbench's: 9
// %), so one input of every so many is compressed both ways, and what it says holds until the next, or until
// something comes that shrinks otherwise.
constexpr int kQuickLevel = -1;
constexpr int kTrialEvery = 32;
constexpr size_t kTrialFrom = 32 << 10;  // shorter inputs say little and cost little
constexpr size_t kQuickMayCost = 64;     // 1/64 more
constexpr size_t kOtherwise = 16;        // shrinks by 1/16 more than what the trial saw

std::unique_ptr<ZSTD_CCtx, FreeZstd> make_zstd(int level) {
  std::unique_ptr<ZSTD_CCtx, FreeZstd> context(ZSTD_createCCtx());
  CHECK(context != nullptr);
  // Seals check every stored byte; a checksum inside the frame would be paid twice.
  CHECK(ZSTD_isError(ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, 0)) == 0);
  CHECK(ZSTD_isError(ZSTD_CCtx_setParameter(context.get(), ZSTD_c_contentSizeFlag, 1)) == 0);
  CHECK(ZSTD_isError(ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, level)) == 0);
  return context;
}

// The compressed size, or 0 on an error.
size_t run_zstd(ZSTD_CCtx* context, ByteView plain, MutableBytes out) {
  size_t size = ZSTD_compress2(context, out.data(), out.size(), plain.data(), plain.size());
  return ZSTD_isError(size) != 0 ? 0 : size;
}

// memcpy with null pointers is undefined even for no bytes.
void copy(ByteView from, MutableBytes to) {
  std::copy(from.begin(), from.end(), to.begin());
}

}  // namespace

std::string_view to_string(Compression compression) {
  switch (compression) {
    case Compression::none:
      return "none";
    case Compression::zstd:
      return "zstd";
    case Compression::lz4:
      return "lz4";
  }
  return "unknown";
}

Result<Compression> parse_compression(std::string_view text) {
  for (auto compression : {Compression::none, Compression::zstd, Compression::lz4}) {
    if (text == to_string(compression)) return compression;
  }
  return make_error(ErrorKind::usage, cat("compression \"", text, "\""), "not a compression method")
      .with_hint("use zstd, lz4 or none");
}

struct Compressor::Impl {
  Compression compression;
  std::unique_ptr<ZSTD_CCtx, FreeZstd> zstd;
  std::unique_ptr<ZSTD_CCtx, FreeZstd> quick_zstd;  // none: the level asked for is not slower
  bool quick = false;                               // said the last trial
  int inputs_to_trial = 0;
  size_t trial_plain = 1;
  size_t trial_quick = 1;
  Bytes trial;
  std::vector<uint64_t> lz4_state;

  size_t try_zstd(ByteView plain, MutableBytes out) {
    if (!quick_zstd || plain.size() < kTrialFrom) return run_zstd(zstd.get(), plain, out);
    if (inputs_to_trial-- > 0) {
      if (!quick) return run_zstd(zstd.get(), plain, out);
      size_t size = run_zstd(quick_zstd.get(), plain, out);
      if (size == 0 || !shrinks_otherwise(size, plain.size())) return size;
    }
    return run_trial(plain, out);
  }

  size_t run_trial(ByteView plain, MutableBytes out) {
    inputs_to_trial = kTrialEvery - 1;
    trial.resize(std::max(trial.size(), bound(plain.size())));
    size_t quick_size = run_zstd(quick_zstd.get(), plain, trial);
    size_t size = run_zstd(zstd.get(), plain, out);
    quick = quick_size != 0 && quick_size <= size + size / kQuickMayCost;
    trial_plain = plain.size();
    trial_quick = quick_size;
    return size;
  }

  bool shrinks_otherwise(size_t size, size_t plain) const {
    const uint64_t expected = uint64_t{trial_quick} * plain / trial_plain;
    return size < expected - expected / kOtherwise;
  }

  // The compressed size, or 0 when this input cannot be compressed.
  size_t try_compress(ByteView plain, MutableBytes out) {
    switch (compression) {
      case Compression::none:
        return 0;
      case Compression::zstd:
        return try_zstd(plain, out);
      case Compression::lz4: {
        if (plain.size() > LZ4_MAX_INPUT_SIZE) return 0;
        int room = static_cast<int>(std::min<size_t>(out.size(), INT32_MAX));
        return static_cast<size_t>(LZ4_compress_fast_extState(
            lz4_state.data(), reinterpret_cast<const char*>(plain.data()),
            reinterpret_cast<char*>(out.data()), static_cast<int>(plain.size()), room, 1));
      }
    }
    return 0;
  }
};

Compressor::Compressor(Compression compression, int level) : impl_(std::make_unique<Impl>()) {
  impl_->compression = compression;
  if (compression == Compression::zstd) {
    level = std::clamp(level, -7, 19);
    impl_->zstd = make_zstd(level);
    if (level > kQuickLevel) impl_->quick_zstd = make_zstd(kQuickLevel);
  } else if (compression == Compression::lz4) {
    impl_->lz4_state.resize((static_cast<size_t>(LZ4_sizeofState()) + 7) / 8);
  }
}

Compressor::Compressor(Compressor&&) noexcept = default;
Compressor& Compressor::operator=(Compressor&&) noexcept = default;
Compressor::~Compressor() = default;

size_t Compressor::bound(size_t plain_size) {
  // LZ4_COMPRESSBOUND counts in int and says 0 for what is too large for it, which is then stored as it is.
  size_t lz4 = plain_size > LZ4_MAX_INPUT_SIZE ? 0 : plain_size + plain_size / 255 + 16;
  return std::max({plain_size, ZSTD_compressBound(plain_size), lz4});
}

Compressor::Outcome Compressor::compress(ByteView plain, MutableBytes out) {
  CHECK(out.size() >= bound(plain.size()));
  size_t size = plain.empty() ? 0 : impl_->try_compress(plain, out);
  if (size != 0 && size <= plain.size() - plain.size() / 32 && size < plain.size()) {
    return {impl_->compression, size};
  }
  copy(plain, out);
  return {Compression::none, plain.size()};
}

struct Decompressor::Impl {
  std::unique_ptr<ZSTD_DCtx, FreeZstd> zstd;

  Status unzstd(ByteView stored, MutableBytes out) {
    // Exactly one frame, not skippable, of exactly this size: ZSTD_decompressDCtx alone would accept several.
    if (stored.size() < 4 || load_le<uint32_t>(stored.data()) != ZSTD_MAGICNUMBER) {
      return damaged("not a zstd frame");
    }
    unsigned long long content = ZSTD_getFrameContentSize(stored.data(), stored.size());
    if (content != out.size())
      return damaged(cat("zstd frame is not for the expected ", out.size(), " bytes"));
    if (ZSTD_findFrameCompressedSize(stored.data(), stored.size()) != stored.size()) {
      return damaged("zstd frame is cut off or followed by other bytes");
    }
    if (zstd == nullptr) {
      zstd.reset(ZSTD_createDCtx());
      CHECK(zstd != nullptr);
    }
    uint8_t nothing;
    uint8_t* target = out.empty() ? &nothing : out.data();
    size_t size = ZSTD_decompressDCtx(zstd.get(), target, out.size(), stored.data(), stored.size());
    if (ZSTD_isError(size) != 0)
      return damaged("zstd frame is malformed").with_cause(ZSTD_getErrorName(size));
    if (size != out.size()) return damaged(cat("zstd frame holds ", size, " bytes, expected ", out.size()));
    return {};
  }

  Status unlz4(ByteView stored, MutableBytes out) {
    if (stored.size() > INT32_MAX || out.size() > LZ4_MAX_INPUT_SIZE)
      return damaged("lz4 block is too large");
    char nothing;
    char* target = out.empty() ? &nothing : reinterpret_cast<char*>(out.data());
    int size = LZ4_decompress_safe(reinterpret_cast<const char*>(stored.data()), target,
                                   static_cast<int>(stored.size()), static_cast<int>(out.size()));
    if (size < 0) return damaged("lz4 block is malformed");
    if (static_cast<size_t>(size) != out.size()) {
      return damaged(cat("lz4 block holds ", size, " bytes, expected ", out.size()));
    }
    return {};
  }
};

Decompressor::Decompressor() : impl_(std::make_unique<Impl>()) {}
Decompressor::Decompressor(Decompressor&&) noexcept = default;
Decompressor& Decompressor::operator=(Decompressor&&) noexcept = default;
Decompressor::~Decompressor() = default;

Status Decompressor::decompress(Compression compression, ByteView stored, MutableBytes out) {
  switch (compression) {
    case Compression::none:
      if (stored.size() != out.size()) {
        return damaged(cat("holds ", stored.size(), " bytes, expected ", out.size()));
      }
      copy(stored, out);
      return {};
    case Compression::zstd:
      return impl_->unzstd(stored, out);
    case Compression::lz4:
      return impl_->unlz4(stored, out);
  }
  return damaged(cat("unknown compression ", static_cast<int>(compression)));
}

}  // namespace lifeboat::codec
