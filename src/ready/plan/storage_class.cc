#include "ready/plan/storage_class.h"

#include <algorithm>
#include <array>

#include "ready/plan/steps.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

constexpr double kGb = 1e9;

// As the providers publish them: S3 user guide "Understanding and managing Amazon S3 storage classes"
// and "Restoring an archived object", Azure "Access tiers for blob data", Google Cloud "Storage classes".
constexpr std::array kClasses = {
    ClassTerms{"STANDARD", 0, 0},
    ClassTerms{"STANDARD_IA", 30, 0},
    ClassTerms{"ONEZONE_IA", 30, 0},
    ClassTerms{"GLACIER_IR", 90, 0},
    ClassTerms{"GLACIER", 90, 5 * kHour},
    ClassTerms{"DEEP_ARCHIVE", 180, 12 * kHour},
    ClassTerms{"HOT", 0, 0},
    ClassTerms{"COOL", 30, 0},
    ClassTerms{"COLD", 90, 0},
    ClassTerms{"ARCHIVE", 180, 15 * kHour},
    ClassTerms{"NEARLINE", 30, 0},
    ClassTerms{"COLDLINE", 90, 0},
};

}  // namespace

const ClassTerms* find_class(std::string_view name) {
  auto found = std::ranges::find_if(
      kClasses, [&](const ClassTerms& one) { return to_lower(one.name) == to_lower(name); });
  return found == kClasses.end() ? nullptr : &*found;
}

double cost_per_month(double bytes, double price_per_gb_month) {
  return bytes / kGb * price_per_gb_month;
}

std::string money_text(double amount, std::string_view currency) {
  const auto cents = static_cast<int64_t>(amount * 100 + 0.5);
  return cat(cents / 100, ".", cents % 100 < 10 ? "0" : "", cents % 100, currency.empty() ? "" : " ",
             currency);
}

}  // namespace lifeboat::ready
