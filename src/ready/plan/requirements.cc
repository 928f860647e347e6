#include "ready/plan/requirements.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "util/nearest.h"
#include "util/strings.h"

namespace lifeboat::ready {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr std::array kSubstrates = {std::pair{Substrate::self_managed, std::string_view("self-managed")},
                                    std::pair{Substrate::managed, std::string_view("managed")},
                                    std::pair{Substrate::operated, std::string_view("operator")}};
constexpr std::array kProfiles = {std::pair{Profile::development, std::string_view("development")},
                                  std::pair{Profile::small_production, std::string_view("small-production")},
                                  std::pair{Profile::production, std::string_view("production")}};
constexpr std::array kMeans = {std::pair{RtoMeans::first_query, std::string_view("first_query")},
                               std::pair{RtoMeans::full_speed, std::string_view("full_speed")}};

template <typename Names, typename Value>
std::string_view name_of(const Names& names, Value value) {
  return std::ranges::find(names, value, [](const auto& pair) { return pair.first; })->second;
}

template <typename Names>
std::string all_of(const Names& names) {
  std::vector<std::string> all;
  for (const auto& [value, name] : names) all.emplace_back(name);
  return join(all, ", ");
}

// More than there is of anything, and nothing that arithmetic could not hold.
constexpr double kMost = 1e18;

// Reads the members of one object and collects what is wrong; in the end, those that were never asked for
// too.
class Members {
 public:
  Members(const Json& object, std::string where, std::vector<std::string>& problems)
      : object_(object), where_(std::move(where)), problems_(problems) {}

  const Json* find(std::string_view name) {
    asked_.emplace_back(name);
    auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  void number(std::string_view name, std::optional<double>& into, double least) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_number() || value->get<double>() < least || value->get<double>() > kMost)
      return wrong(name, cat("a number that is ", least > 0 ? "above 0" : "0 or more"));
    into = value->get<double>();
  }
  void text(std::string_view name, std::string& into) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_string() || value->get<std::string>().find('\n') != std::string::npos)
      return wrong(name, "a text of one line");
    into = std::string(trim(value->get<std::string>()));
  }
  void truth(std::string_view name, bool& into) {
    const Json* value = find(name);
    if (value == nullptr) return;
    if (!value->is_boolean()) return wrong(name, "true or false");
    into = value->get<bool>();
  }
  // One text or a list of them.
  void texts(std::string_view name, std::vector<std::string>& into) {
    const Json* value = find(name);
    if (value == nullptr) return;
    const Json list = value->is_array() ? *value : Json::array({*value});
    for (const Json& element : list) {
      if (!element.is_string()) return wrong(name, "a text or a list of texts");
      into.push_back(element.get<std::string>());
    }
  }
  template <typename Names, typename Value>
  bool choice(std::string_view name, const Names& names, Value& into) {
    const Json* value = find(name);
    if (value == nullptr) return false;
    for (const auto& [one, spelt] : names) {
      if (!value->is_string() || value->get<std::string>() != spelt) continue;
      into = one;
      return true;
    }
    wrong(name, cat("one of ", all_of(names)));
    return true;
  }
  void wrong(std::string_view name, std::string_view expected) {
    problems_.push_back(cat(where_, name, ": expected ", expected));
  }
  // A misspelt member is an error: what it meant would be planned as if nobody had demanded it. True: there
  // was one.
  bool refuse_unknown() {
    const size_t before = problems_.size();
    const std::vector<std::string_view> known(asked_.begin(), asked_.end());
    for (const auto& [name, value] : object_.items()) {
      if (std::ranges::find(asked_, name) != asked_.end()) continue;
      const std::string_view near = nearest(name, known);
      problems_.push_back(cat("unknown member '", where_, name, "'",
                              near.empty() ? std::string() : cat(" (did you mean ", where_, near, "?)")));
    }
    return problems_.size() > before;
  }

 private:
  const Json& object_;
  std::string where_;
  std::vector<std::string>& problems_;
  std::vector<std::string> asked_;
};

// A URL alone, or an object with the terms.
void read_storage(const Json& storage, Requirements& into, std::vector<std::string>& problems) {
  if (storage.is_string()) {
    into.storage.url = storage.get<std::string>();
    return;
  }
  if (!storage.is_object()) {
    problems.emplace_back("storage: expected a URL or an object");
    return;
  }
  Members members(storage, "storage.", problems);
  members.text("url", into.storage.url);
  members.text("class", into.storage.storage_class);
  members.text("second_copy", into.storage.second_copy);
  members.number("price_per_gb_month", into.storage.price_per_gb_month, 0);
  members.text("currency", into.storage.currency);
  members.number("minimum_days", into.storage.minimum_days, 0);
  members.number("capacity_bytes", into.storage.capacity_bytes, 1);
  members.number("immutable_days", into.storage.immutable_days, 0);
  members.number("retrieval_seconds", into.storage.retrieval_seconds, 0);
  members.refuse_unknown();
}

void read_provider(const Json& provider, Requirements& into, std::vector<std::string>& problems) {
  if (!provider.is_object()) {
    problems.emplace_back("provider: expected an object");
    return;
  }
  Members members(provider, "provider.", problems);
  members.number("rpo_seconds", into.provider.rpo_seconds, 0);
  members.number("rto_seconds", into.provider.rto_seconds, 0);
  members.number("window_days", into.provider.window_days, 0);
  members.text("source", into.provider.source);
  members.refuse_unknown();
}

void read_levels(Members& members, Requirements& into) {
  constexpr std::string_view kLevels[] = {"cluster", "database", "table", "schema"};
  members.texts("recovery_level", into.recovery_levels);
  for (const std::string& level : into.recovery_levels)
    if (std::ranges::find(kLevels, level) == std::end(kLevels))
      members.wrong("recovery_level", "cluster, database, table or schema, or a list of these");
  if (into.recovery_levels.empty()) into.recovery_levels = {"cluster"};
}

Error undecided(const std::string& path, bool rpo, bool rto) {
  const std::string_view what = rpo && rto ? "rpo_seconds and rto_seconds are not stated"
                                : rpo      ? "rpo_seconds is not stated"
                                           : "rto_seconds is not stated";
  return make_error(ErrorKind::undecided, path, std::string(what))
      .with_hint(
          "how much may be lost (RPO) and how long recovery may take (RTO) is decided by the owner of "
          "the data; no plan is made without it");
}

}  // namespace

std::string_view to_string(Substrate substrate) {
  return name_of(kSubstrates, substrate);
}
std::string_view to_string(Profile profile) {
  return name_of(kProfiles, profile);
}
std::string_view to_string(RtoMeans means) {
  return name_of(kMeans, means);
}

Result<Requirements> parse_requirements(std::string_view text, const std::string& path) {
  const Json document = Json::parse(text, nullptr, false);
  if (!document.is_object()) return make_error(ErrorKind::config, path, "is not a JSON object");
  Requirements found;
  std::vector<std::string> problems;
  Members members(document, "", problems);
  if (const Json* schema = members.find("schema"); schema != nullptr && *schema != kRequirementsSchema)
    members.wrong("schema", kRequirementsSchema);
  members.find("$schema");
  std::optional<double> rpo;
  std::optional<double> rto;
  members.number("rpo_seconds", rpo, 0);
  members.number("rto_seconds", rto, 1e-3);
  const bool no_rpo = members.find("rpo_seconds") == nullptr;
  const bool no_rto = members.find("rto_seconds") == nullptr;
  found.rpo_seconds = rpo.value_or(0);
  found.rto_seconds = rto.value_or(0);
  if (!members.choice("substrate", kSubstrates, found.substrate))
    members.wrong("substrate", cat("one of ", all_of(kSubstrates)));
  members.text("owner", found.owner);
  if (found.owner.empty()) members.wrong("owner", "who answers for the cluster's recovery");
  members.text("on_call", found.on_call);
  members.text("targets_source", found.targets_source);
  Profile profile{};
  if (members.choice("profile", kProfiles, profile)) found.profile = profile;
  members.choice("rto_means", kMeans, found.rto_means);
  read_levels(members, found);
  members.texts("databases", found.databases);
  members.texts("tables", found.tables);
  members.number("database_size_bytes", found.database_size_bytes, 1);
  members.number("growth_bytes_per_day", found.growth_bytes_per_day, 0);
  members.number("wal_bytes_per_day", found.wal_bytes_per_day, 0);
  members.number("retention_days", found.retention_days, 1);
  members.number("compliance_days", found.compliance_days, 0);
  members.truth("legal_hold", found.legal_hold);
  if (const Json* storage = members.find("storage")) read_storage(*storage, found, problems);
  if (const Json* provider = members.find("provider")) read_provider(*provider, found, problems);
  members.text("current_setup", found.current_setup);
  const bool misspelt = members.refuse_unknown();
  // Who wrote rpo_second has stated one: then the slip is what is told.
  if ((no_rpo || no_rto) && !misspelt) return undecided(path, no_rpo, no_rto);
  if (no_rpo) problems.emplace_back("rpo_seconds is not stated");
  if (no_rto) problems.emplace_back("rto_seconds is not stated");
  if (!problems.empty()) return make_error(ErrorKind::config, path, join(problems, "; "));
  return found;
}

std::string requirements_json(const Requirements& requirements) {
  OrderedJson json = {{"schema", kRequirementsSchema},
                      {"rpo_seconds", requirements.rpo_seconds},
                      {"rto_seconds", requirements.rto_seconds},
                      {"substrate", to_string(requirements.substrate)},
                      {"owner", requirements.owner}};
  auto text = [](OrderedJson& into, const char* name, const std::string& value) {
    if (!value.empty()) into[name] = value;
  };
  auto number = [](OrderedJson& into, const char* name, std::optional<double> value) {
    if (value) into[name] = *value;
  };
  text(json, "on_call", requirements.on_call);
  text(json, "targets_source", requirements.targets_source);
  if (requirements.profile) json["profile"] = to_string(*requirements.profile);
  json["rto_means"] = to_string(requirements.rto_means);
  json["recovery_level"] = requirements.recovery_levels;
  if (!requirements.databases.empty()) json["databases"] = requirements.databases;
  if (!requirements.tables.empty()) json["tables"] = requirements.tables;
  number(json, "database_size_bytes", requirements.database_size_bytes);
  number(json, "growth_bytes_per_day", requirements.growth_bytes_per_day);
  number(json, "wal_bytes_per_day", requirements.wal_bytes_per_day);
  number(json, "retention_days", requirements.retention_days);
  number(json, "compliance_days", requirements.compliance_days);
  if (requirements.legal_hold) json["legal_hold"] = true;
  const StorageTerms& terms = requirements.storage;
  OrderedJson storage = OrderedJson::object();
  text(storage, "url", terms.url);
  text(storage, "class", terms.storage_class);
  text(storage, "second_copy", terms.second_copy);
  number(storage, "price_per_gb_month", terms.price_per_gb_month);
  text(storage, "currency", terms.currency);
  number(storage, "minimum_days", terms.minimum_days);
  number(storage, "capacity_bytes", terms.capacity_bytes);
  number(storage, "immutable_days", terms.immutable_days);
  number(storage, "retrieval_seconds", terms.retrieval_seconds);
  if (!storage.empty()) json["storage"] = std::move(storage);
  OrderedJson provider = OrderedJson::object();
  number(provider, "rpo_seconds", requirements.provider.rpo_seconds);
  number(provider, "rto_seconds", requirements.provider.rto_seconds);
  number(provider, "window_days", requirements.provider.window_days);
  text(provider, "source", requirements.provider.source);
  if (!provider.empty()) json["provider"] = std::move(provider);
  text(json, "current_setup", requirements.current_setup);
  return json.dump(2) + "\n";
}

}  // namespace lifeboat::ready
