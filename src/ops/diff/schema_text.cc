#include "ops/diff/schema_text.h"

#include <algorithm>
#include <array>
#include <optional>

#include "util/bytes.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

constexpr size_t kLongestLine = 64 << 10;  // that is held; no header is longer
constexpr std::string_view kBar = "--";
constexpr std::string_view kTitle = "-- Name: ";
constexpr std::string_view kEnd = "-- PostgreSQL database dump complete";
constexpr std::string_view kAccessMethod = "SET default_table_access_method = ";

struct Header {
  SchemaObject object;
  std::string rest;  // owner and tablespace
};

// From its end: a name may hold anything but a line feed.
std::optional<Header> parse_title(std::string_view title) {
  title.remove_prefix(kTitle.size());
  const size_t owner = title.rfind("; Owner: ");
  if (owner == std::string_view::npos) return std::nullopt;
  const size_t schema = title.rfind("; Schema: ", owner);
  if (schema == std::string_view::npos) return std::nullopt;
  const size_t type = title.rfind("; Type: ", schema);
  if (type == std::string_view::npos) return std::nullopt;
  auto between = [&](size_t from, std::string_view label, size_t to) {
    const size_t begin = from + label.size();
    return std::string(title.substr(std::min(begin, to), to - std::min(begin, to)));
  };
  Header header;
  header.object.name = std::string(title.substr(0, type));
  header.object.type = between(type, "; Type: ", schema);
  header.object.schema = between(schema, "; Schema: ", owner);
  if (header.object.schema == "-") header.object.schema.clear();
  header.rest = std::string(title.substr(owner));
  return header;
}

// What pg_dump writes of its own accord: at the beginning, after \connect, and before tables.
bool is_setting(std::string_view line) {
  constexpr std::array<std::string_view, 15> kOwn = {
      "SET default_tablespace = ",
      kAccessMethod,
      "SET statement_timeout = ",
      "SET lock_timeout = ",
      "SET idle_in_transaction_session_timeout = ",
      "SET transaction_timeout = ",
      "SET client_encoding = ",
      "SET standard_conforming_strings = ",
      "SELECT pg_catalog.set_config('search_path', '', false)",
      "SET check_function_bodies = ",
      "SET xmloption = ",
      "SET client_min_messages = ",
      "SET row_security = ",
      "\\restrict ",
      "\\unrestrict ",
  };
  if (line.starts_with("\\connect ")) return true;
  if (std::ranges::count(line, '\'') % 2 != 0) return false;  // the end of a literal of several lines
  return std::ranges::any_of(kOwn, [&](std::string_view own) { return line.starts_with(own); });
}

}  // namespace

Status SchemaText::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    const std::string_view part = bytes.substr(0, end);
    if (end == std::string_view::npos) {
      rest_ += part;
      if (rest_.size() <= kLongestLine) return {};
      // No header. It is hashed as it comes.
      give_up_header();
      complete_ = false;
      flush_held();
      if (open_) hash_->update(as_bytes(rest_));
      rest_.clear();
      in_long_ = true;
      return {};
    }
    bytes.remove_prefix(end + 1);
    rest_ += part;
    if (in_long_) {
      if (open_) hash_->update(as_bytes(cat(rest_, "\n")));
      in_long_ = false;
    } else {
      TRY(line(rest_));
    }
    rest_.clear();
  }
  return {};
}

Status SchemaText::line(std::string_view text) {
  const bool may_be_header = text.size() <= kLongestLine;
  switch (may_be_header ? seen_ : Seen::nothing) {
    case Seen::nothing:
      break;
    case Seen::bar:
      // Unless something follows: then it was text.
      if (text == kEnd) {
        seen_ = Seen::nothing;
        complete_ = true;
        held_ += cat(kBar, "\n", text, "\n");
        return {};
      }
      if (text.starts_with(kTitle) && parse_title(text)) {
        title_ = text;
        seen_ = Seen::title;
        return {};
      }
      give_up_header();
      break;
    case Seen::title:
      if (text == kBar) {
        seen_ = Seen::nothing;
        return begin_object();
      }
      give_up_header();
      break;
  }
  if (!may_be_header) {
    give_up_header();
    complete_ = false;
    flush_held();
    if (open_) hash_->update(as_bytes(cat(text, "\n")));
  } else if (text == kBar) {
    seen_ = Seen::bar;
  } else {
    text_line(text);
  }
  return {};
}

// It was text that begins like one.
void SchemaText::give_up_header() {
  const Seen seen = seen_;
  seen_ = Seen::nothing;
  if (seen != Seen::nothing) text_line(kBar);
  if (seen == Seen::title) text_line(title_);
}

void SchemaText::text_line(std::string_view text) {
  if (text.empty() || is_setting(text) || (complete_ && text == kBar)) {
    held_ += text;
    held_ += '\n';
    if (held_.size() > kLongestLine) flush_held();
    return;
  }
  complete_ = false;
  flush_held();
  if (open_) hash_->update(as_bytes(cat(text, "\n")));
}

void SchemaText::flush_held() {
  if (open_) hash_->update(as_bytes(held_));
  held_.clear();
}

Status SchemaText::begin_object() {
  TRY(end_object());
  complete_ = false;
  Header header = *parse_title(title_);
  object_ = std::move(header.object);
  hash_ = std::make_unique<codec::Hasher256>();
  open_ = true;
  std::string first = cat(header.rest, "\n");
  if (object_.type == "TABLE" || object_.type == "MATERIALIZED VIEW") first += cat(access_method_, "\n");
  hash_->update(as_bytes(first));
  return {};
}

Status SchemaText::end_object() {
  for (std::string_view one : split(held_, '\n'))
    if (one.starts_with(kAccessMethod)) access_method_ = one;
  held_.clear();
  if (!open_) return {};
  open_ = false;
  held_bytes_ += object_.type.size() + object_.schema.size() + object_.name.size() + sizeof(SchemaObject) +
                 sizeof(codec::Digest256);
  if (held_bytes_ > most_bytes_)
    return make_error(ErrorKind::unsupported, "schema",
                      cat("has so many objects that their names alone take ", most_bytes_, " bytes"));
  objects_[std::move(object_)].push_back(hash_->digest());
  return {};
}

Status SchemaText::finish() {
  if (!complete_ || in_long_ || !rest_.empty() || seen_ == Seen::title)
    return make_error(ErrorKind::damaged, "pg_dump's script", "has no end");
  TRY(end_object());
  for (auto& [object, hashes] : objects_) std::ranges::sort(hashes);
  return {};
}

std::string_view to_string(ObjectChange change) {
  switch (change) {
    case ObjectChange::removed:
      return "removed";
    case ObjectChange::added:
      return "added";
    case ObjectChange::changed:
      return "changed";
  }
  return "?";
}

std::string ObjectDiff::to_string() const {
  return cat(object.type, " ", object.name, object.schema.empty() ? "" : " in schema ", object.schema);
}

std::vector<ObjectDiff> compare_objects(const SchemaText::Objects& before, const SchemaText::Objects& after) {
  std::vector<ObjectDiff> found;
  auto was = before.begin();
  auto is = after.begin();
  while (was != before.end() || is != after.end()) {
    if (is == after.end() || (was != before.end() && was->first < is->first)) {
      found.push_back({ObjectChange::removed, (was++)->first});
    } else if (was == before.end() || is->first < was->first) {
      found.push_back({ObjectChange::added, (is++)->first});
    } else {
      if (was->second != is->second) found.push_back({ObjectChange::changed, is->first});
      ++was;
      ++is;
    }
  }
  return found;
}

}  // namespace lifeboat::ops
