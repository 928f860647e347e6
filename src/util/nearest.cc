#include "util/nearest.h"

#include <algorithm>

namespace lifeboat {

namespace {

// Edits that turn one word into the other: insert, delete, replace, swap neighbours.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> rows(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) rows[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) rows[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t replace = rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      rows[i][j] = std::min({rows[i - 1][j] + 1, rows[i][j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
      }
    }
  }
  return rows[a.size()][b.size()];
}

}  // namespace

std::string_view nearest(std::string_view typed, const std::vector<std::string_view>& known) {
  if (typed.empty() || typed.size() > 64) return {};
  std::string_view best;
  size_t best_distance = 1 + std::max<size_t>(1, typed.size() / 3);
  for (std::string_view word : known) {
    size_t edits = distance(typed, word);
    // A beginning of the word is what tab completion would have finished.
    if (typed.size() >= 3 && word.starts_with(typed)) edits = std::min<size_t>(edits, 1);
    if (edits < best_distance) {
      best_distance = edits;
      best = word;
    }
  }
  return best;
}

}  // namespace lifeboat
