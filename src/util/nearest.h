// What was probably meant by a word that nobody knows.
#pragma once

#include <string_view>
#include <vector>

namespace lifeboat {

// The entry nearest to what was typed, for "did you mean"; empty when nothing is near.
std::string_view nearest(std::string_view typed, const std::vector<std::string_view>& known);

}  // namespace lifeboat
