// Small text helpers: concatenation, hex, splitting, number parsing, quoting for people and shells.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lifeboat {

namespace internal {
// One argument of cat(): text, or a number printed in decimal.
class Piece {
 public:
  Piece(std::string_view text) : text_(text) {}
  Piece(const std::string& text) : text_(text) {}
  Piece(const char* text) : text_(text) {}
  Piece(char c) : text_(digits_, 1) { digits_[0] = c; }
  template <std::integral N>
    requires(!std::same_as<N, char> && !std::same_as<N, bool>)
  Piece(N number) {
    auto end = std::to_chars(digits_, digits_ + sizeof digits_, number).ptr;
    text_ = std::string_view(digits_, static_cast<size_t>(end - digits_));
  }
  Piece(const Piece&) = delete;
  std::string_view text() const { return text_; }

 private:
  char digits_[24];
  std::string_view text_;
};
std::string concat(std::initializer_list<std::string_view> pieces);
template <typename... P>
std::string cat_pieces(const P&... pieces) {
  return concat({pieces.text()...});
}
}  // namespace internal

// cat("block ", 17, " of ", path): joins text and integers.
template <typename... A>
std::string cat(const A&... args) {
  return internal::cat_pieces(internal::Piece(args)...);
}

std::string to_hex(std::span<const uint8_t> bytes);                   // lower case
std::optional<std::vector<uint8_t>> from_hex(std::string_view text);  // either case, even length
std::string hex_number(uint64_t value, int width);                    // upper case, zero padded
std::vector<std::string_view> split(std::string_view text, char separator);
// "1 segment", "2 segments": counts for people. `one` is the singular of a word that takes an s.
std::string counted(uint64_t count, std::string_view one);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
std::string_view trim(std::string_view text);  // spaces, tabs and line ends off both sides
std::string to_lower(std::string_view text);
std::optional<uint64_t> parse_u64(std::string_view text, int base = 10);  // the whole text or nothing
std::optional<int64_t> parse_i64(std::string_view text);
std::string shell_quote(std::string_view text);     // '…', unchanged when it needs no quotes
std::string sql_literal(std::string_view text);     // '…' with '' doubled; E'' form when a backslash occurs
std::string sql_identifier(std::string_view text);  // "…" with "" doubled
std::string format_bytes(uint64_t bytes);           // "5.1 GB", powers of ten, for people
std::string format_seconds(double seconds);         // "0.3 s", "2 min 05 s", "3 h 10 min"

}  // namespace lifeboat
