// Text tables for people, JSON text for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "model/names.h"
#include "model/timestamp.h"
#include "util/error.h"

namespace lifeboat::app {

enum class Align : uint8_t { left, right };
struct Column {
  std::string_view title;
  Align align = Align::left;
};

// Columns separated by two spaces, as wide as their widest cell, without trailing spaces.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells);  // as many as there are columns
  bool empty() const { return rows_.empty(); }
  std::string to_string() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// "name   value" lines with aligned values.
class Facts {
 public:
  void add(std::string_view name, std::string_view value);
  std::string to_string() const;

 private:
  std::vector<std::pair<std::string, std::string>> facts_;
};

// Indented JSON. Bytes that are not UTF-8 (file names may hold any) become U+FFFD instead of an exception.
std::string to_json_text(const nlohmann::ordered_json& json);
// Times as ISO UTC, null when unknown.
nlohmann::ordered_json json_time(Timestamp time);
nlohmann::ordered_json ids_json(const std::vector<BackupId>& ids);
// {"kind","object","message","cause","hint","exit_code"}
nlohmann::ordered_json json_error(const Error& error, int exit_code);

// `text` wrapped at `width` columns, each line after `indent` spaces. Paragraphs are separated by empty
// lines; lines that begin with a space are left as they are.
std::string wrap(std::string_view text, int indent, int width = 100);

}  // namespace lifeboat::app
