#include "ops/dump/refresh_filter.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {
constexpr size_t kLongest =
    64 << 10;  // of a line that could matter; names have 63 bytes, columns there are 1600
}

std::string RefreshFilter::pass(std::string_view piece) {
  std::string passed;
  while (!piece.empty()) {
    const size_t end = std::min(piece.find('\n'), piece.size() - 1) + 1;
    line_ += piece.substr(0, end);
    piece.remove_prefix(end);
    if (line_.back() == '\n') {
      take_line(passed);
    } else if (line_.size() > kLongest) {
      passed += line_;
      line_.clear();
      long_line_ = true;
    }
  }
  return passed;
}

std::string RefreshFilter::rest() {
  std::string passed;
  if (!line_.empty()) take_line(passed);
  return passed;
}

void RefreshFilter::take_line(std::string& passed) {
  const std::string_view text = trim(line_);
  bool take = false;
  if (long_line_) {
    long_line_ = false;
  } else if (in_rows_) {
    in_rows_ = line_ != "\\.\n";
  } else if (line_.starts_with("COPY ") && text.ends_with(" FROM stdin;")) {
    in_rows_ = true;
  } else if (line_.starts_with("-- Name: ")) {
    announced_ = text.find("; Type: MATERIALIZED VIEW DATA; ") != std::string_view::npos;
  } else if (announced_ && !text.empty() && !text.starts_with("--")) {
    announced_ = false;
    take = text.starts_with("REFRESH MATERIALIZED VIEW ") && text.ends_with(';');
  }
  if (take) {
    taken_.emplace_back(text.substr(0, text.size() - 1));
  } else {
    passed += line_;
  }
  line_.clear();
}

}  // namespace lifeboat::ops
