#include "app/render.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "util/check.h"
#include "util/strings.h"

namespace lifeboat::app {
namespace {

// Columns on a terminal: characters, not bytes.
size_t display_width(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

void append_cell(std::string& line, std::string_view text, size_t width, Align align) {
  std::string padding(width - std::min(width, display_width(text)), ' ');
  line += align == Align::left ? cat(text, padding) : cat(padding, text);
}

void trim_end(std::string& line) {
  line.erase(line.find_last_not_of(' ') + 1);
}

}  // namespace

void Table::add(std::vector<std::string> cells) {
  CHECK(cells.size() == columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::to_string() const {
  std::vector<size_t> widths;
  for (size_t at = 0; at < columns_.size(); ++at) {
    size_t width = display_width(columns_[at].title);
    for (const auto& row : rows_) width = std::max(width, display_width(row[at]));
    widths.push_back(width);
  }
  std::string text;
  auto add_line = [&](auto cell) {
    std::string line;
    for (size_t at = 0; at < columns_.size(); ++at) {
      if (at > 0) line += "  ";
      append_cell(line, cell(at), widths[at], columns_[at].align);
    }
    trim_end(line);
    text += line + "\n";
  };
  add_line([&](size_t at) { return columns_[at].title; });
  for (const auto& row : rows_) add_line([&](size_t at) { return std::string_view(row[at]); });
  return text;
}

void Facts::add(std::string_view name, std::string_view value) {
  facts_.emplace_back(name, value);
}

std::string Facts::to_string() const {
  size_t width = 0;
  for (const auto& [name, value] : facts_) width = std::max(width, display_width(name));
  std::string text;
  for (const auto& [name, value] : facts_) {
    std::string line;
    append_cell(line, name, width + 2, Align::left);
    line += value;
    trim_end(line);
    text += line + "\n";
  }
  return text;
}

std::string to_json_text(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

nlohmann::ordered_json json_time(Timestamp time) {
  if (!time.valid()) return nullptr;
  return time.to_iso();
}

nlohmann::ordered_json ids_json(const std::vector<BackupId>& ids) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const BackupId& id : ids) list.push_back(id.text);
  return list;
}

nlohmann::ordered_json json_error(const Error& error, int exit_code) {
  return {{"kind", info(error.kind).id}, {"object", error.object}, {"message", error.message},
          {"cause", error.cause},        {"hint", error.hint},     {"exit_code", exit_code}};
}

std::string wrap(std::string_view text, int indent, int width) {
  std::string out;
  std::string line;
  const std::string margin(static_cast<size_t>(indent), ' ');
  const size_t limit = static_cast<size_t>(std::max(width - indent, 20));
  auto flush = [&] {
    if (!line.empty()) out += cat(margin, line, "\n");
    line.clear();
  };
  for (std::string_view source : split(text, '\n')) {
    if (source.empty() || source.starts_with(' ')) {
      flush();
      out += source.empty() ? "\n" : cat(margin, source, "\n");
      continue;
    }
    for (std::string_view word : split(source, ' ')) {
      if (word.empty()) continue;
      if (!line.empty() && display_width(line) + 1 + display_width(word) > limit) flush();
      if (!line.empty()) line += ' ';
      line += word;
    }
  }
  flush();
  return out;
}

}  // namespace lifeboat::app
