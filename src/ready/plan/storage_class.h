// What stored bytes cost: prices are stated by whoever pays, the terms of storage classes are the providers'
// published ones (RT3).
#pragma once

#include <string>
#include <string_view>

namespace lifeboat::ready {

// A class whose objects are charged for at least so long, or have to be retrieved before they can be read.
struct ClassTerms {
  std::string_view name;
  double minimum_days;
  double retrieval_seconds;
};
// By the provider's name for it, in any case; null: not known.
const ClassTerms* find_class(std::string_view name);

// A GB is 10^9 bytes here, as providers charge.
double cost_per_month(double bytes, double price_per_gb_month);
// "12.30 USD"; without a currency the number alone.
std::string money_text(double amount, std::string_view currency);

}  // namespace lifeboat::ready
