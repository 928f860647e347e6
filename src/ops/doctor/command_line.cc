// archive_command taken apart: enough of a POSIX shell's grammar to see which program it runs with which
// options. PostgreSQL hands the text to sh -c after it has replaced %p, %f and %%
// (src/backend/archive/shell_archive.c; pgarch.c up to 14).
#include <algorithm>
#include <iterator>

#include "ops/doctor/facts.h"
#include "util/strings.h"

namespace lifeboat::ops {

namespace {

struct ShellWords {
  std::vector<std::vector<std::string>> commands;  // simple commands
  bool shell = false;
};

// %p becomes this, so that a word with it can be told from a text that looks like it.
constexpr std::string_view kPathMark = "\x01path";

std::string replace_percents(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    char next = text[++i];
    if (next == 'p') {
      out += kPathMark;
    } else if (next == '%') {
      out += '%';
    } else {
      out += '%';
      out += next;
    }
  }
  return out;
}

ShellWords split_words(std::string_view text) {
  ShellWords words;
  words.commands.emplace_back();
  std::string word;
  bool in_word = false;
  auto end_word = [&] {
    if (in_word) words.commands.back().push_back(std::move(word));
    word.clear();
    in_word = false;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == ' ' || c == '\t') {
      end_word();
    } else if (c == '\'') {
      in_word = true;
      size_t end = text.find('\'', i + 1);
      if (end == std::string_view::npos) end = text.size();
      word += text.substr(i + 1, end - i - 1);
      i = end;
    } else if (c == '"') {
      in_word = true;
      for (++i; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '\\' && i + 1 < text.size()) ++i;
        if (text[i] == '$' || text[i] == '`') words.shell = true;
        word += text[i];
      }
    } else if (c == '\\' && i + 1 < text.size()) {
      in_word = true;
      word += text[++i];
    } else if (std::string_view(";&|()\n").find(c) != std::string_view::npos) {
      words.shell = true;
      end_word();
      if (!words.commands.back().empty()) words.commands.emplace_back();
    } else {
      if (std::string_view("<>$`*?#").find(c) != std::string_view::npos) words.shell = true;
      in_word = true;
      word += c;
    }
  }
  end_word();
  if (words.commands.back().empty() && words.commands.size() > 1) words.commands.pop_back();
  return words;
}

bool is_assignment(const std::string& word) {
  size_t equals = word.find('=');
  return equals != std::string::npos && equals > 0 && word.find('/') > equals && word[0] != '-';
}

// "--name value" and "--name=value".
std::optional<std::string> option(const std::vector<std::string>& words, std::string_view name) {
  const std::string flag = cat("--", name);
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == flag && i + 1 < words.size()) return words[i + 1];
    if (words[i].starts_with(flag + "=")) return words[i].substr(flag.size() + 1);
  }
  return std::nullopt;
}

bool runs_wal_push(const std::vector<std::string>& words) {
  auto wal = std::ranges::find(words, "wal");
  return wal != words.end() && std::find(wal, words.end(), "push") != words.end();
}

}  // namespace

CommandFacts parse_archive_command(const std::string& text) {
  CommandFacts facts;
  facts.text = text;
  ShellWords words = split_words(replace_percents(text));
  facts.shell = words.shell;
  const std::vector<std::string>* chosen = &words.commands.front();
  for (const auto& command : words.commands) {
    if (!runs_wal_push(command)) continue;
    chosen = &command;
    facts.ours = true;
    break;
  }
  auto program = std::ranges::find_if_not(*chosen, is_assignment);
  if (program != chosen->end()) facts.program = *program;
  if (!facts.ours) return facts;
  facts.words.assign(std::next(program), chosen->end());
  std::ranges::replace(facts.words, std::string(kPathMark), "%p");
  facts.repo = option(*chosen, "repo");
  facts.cluster = option(*chosen, "cluster");
  facts.state_directory = option(*chosen, "state-dir").value_or("");
  if (auto file = option(*chosen, "key-file")) {
    facts.key = {repo::KeySourceKind::key_file, *file};
  } else if (auto passphrase = option(*chosen, "passphrase-file")) {
    facts.key = {repo::KeySourceKind::passphrase_file, *passphrase};
  }
  facts.has_path = std::ranges::find(*chosen, kPathMark) != chosen->end();
  return facts;
}

}  // namespace lifeboat::ops
