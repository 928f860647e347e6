#include "ops/dump/sql_text.h"

#include <algorithm>

#include "util/strings.h"

namespace lifeboat::ops {

namespace {

bool begins_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}
bool goes_on(char c) {
  return begins_name(c) || (c >= '0' && c <= '9') || c == '$';
}
bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

class Splitter {
 public:
  Splitter(std::string_view object, std::string_view script) : object_(object), script_(script) {}

  Result<std::vector<SqlStatement>> run() {
    while (at_ < script_.size()) {
      char c = script_[at_];
      if (is_space(c)) {
        ++at_;
      } else if (here("--")) {
        skip_line();
      } else if (here("/*")) {
        TRY(skip_comment());
      } else if (c == '\\' && tokens_.empty()) {
        skip_line();
      } else if (c == ';') {
        end_statement();
        ++at_;
      } else {
        TRY(token());
      }
    }
    end_statement();
    return std::move(statements_);
  }

 private:
  bool here(std::string_view text) const { return script_.substr(at_, text.size()) == text; }

  void skip_line() {
    size_t end = script_.find('\n', at_);
    at_ = end == std::string_view::npos ? script_.size() : end + 1;
  }

  Error unended(std::string_view what) const {
    return make_error(ErrorKind::damaged, std::string(object_),
                      cat("a ", what, " that begins at byte ", token_begin_, " does not end"));
  }

  Status skip_comment() {
    token_begin_ = at_;
    int depth = 0;
    do {
      if (here("/*")) {
        ++depth;
        at_ += 2;
      } else if (here("*/")) {
        --depth;
        at_ += 2;
      } else if (++at_ >= script_.size()) {
        return unended("comment");
      }
    } while (depth > 0);
    return {};
  }

  // Up to the closing quote, which is doubled where it is meant.
  Result<std::string> quoted(char quote, bool backslashes) {
    std::string content;
    for (++at_; at_ < script_.size(); ++at_) {
      char c = script_[at_];
      if (backslashes && c == '\\') {
        content += c;
        if (++at_ < script_.size()) content += script_[at_];
      } else if (c != quote) {
        content += c;
      } else if (at_ + 1 < script_.size() && script_[at_ + 1] == quote) {
        content += c;
        ++at_;
      } else {
        ++at_;
        return content;
      }
    }
    return unended(quote == '"' ? "quoted identifier" : "string");
  }

  // "$tag$" here, or nothing.
  std::string_view dollar_tag() const {
    size_t end = at_ + 1;
    while (end < script_.size() && script_[end] != '$' && goes_on(script_[end])) ++end;
    if (end >= script_.size() || script_[end] != '$') return {};
    bool number = end > at_ + 1 && !begins_name(script_[at_ + 1]);
    return number ? std::string_view() : script_.substr(at_, end + 1 - at_);
  }

  Status token() {
    token_begin_ = at_;
    if (tokens_.empty()) statement_begin_ = at_;
    char c = script_[at_];
    bool escapes = (c == 'E' || c == 'e') && at_ + 1 < script_.size() && script_[at_ + 1] == '\'';
    if (escapes) ++at_;
    if (c == '\'' || escapes) {
      TRY(quoted('\'', escapes));
      add(SqlToken::Kind::literal, std::string(script_.substr(token_begin_, at_ - token_begin_)));
    } else if (c == '"') {
      TRY_ASSIGN(std::string name, quoted('"', false));
      add(SqlToken::Kind::quoted, std::move(name));
    } else if (c == '$' && !dollar_tag().empty()) {
      std::string_view tag = dollar_tag();
      size_t end = script_.find(tag, at_ + tag.size());
      if (end == std::string_view::npos) return unended("dollar quote");
      at_ = end + tag.size();
      add(SqlToken::Kind::literal, std::string(script_.substr(token_begin_, at_ - token_begin_)));
    } else if (begins_name(c)) {
      while (at_ < script_.size() && goes_on(script_[at_])) ++at_;
      add(SqlToken::Kind::word, to_lower(script_.substr(token_begin_, at_ - token_begin_)));
    } else {
      ++at_;
      add(SqlToken::Kind::symbol, std::string(1, c));
    }
    return {};
  }

  void add(SqlToken::Kind kind, std::string text) {
    tokens_.push_back({kind, std::move(text), token_begin_ - statement_begin_, at_ - statement_begin_});
  }

  void end_statement() {
    if (tokens_.empty()) return;
    SqlStatement statement;
    statement.text = std::string(script_.substr(statement_begin_, tokens_.back().end));
    statement.tokens = std::move(tokens_);
    tokens_.clear();
    statements_.push_back(std::move(statement));
  }

  std::string_view object_;
  std::string_view script_;
  size_t at_ = 0;
  size_t token_begin_ = 0;
  size_t statement_begin_ = 0;
  std::vector<SqlToken> tokens_;
  std::vector<SqlStatement> statements_;
};

}  // namespace

size_t SqlStatement::find_after(std::initializer_list<std::string_view> words) const {
  auto same = [](const SqlToken& token, std::string_view word) { return token.is_word(word); };
  auto found = std::search(tokens.begin(), tokens.end(), words.begin(), words.end(), same);
  if (found == tokens.end()) return tokens.size();
  return static_cast<size_t>(found - tokens.begin()) + words.size();
}

bool SqlStatement::begins(std::initializer_list<std::string_view> words) const {
  return find_after(words) == words.size();
}

std::string SqlStatement::name_after(std::initializer_list<std::string_view> words) const {
  size_t at = find_after(words);
  return at < tokens.size() && tokens[at].is_name() ? tokens[at].text : std::string();
}

Result<std::vector<SqlStatement>> split_sql(std::string_view object, std::string_view script) {
  return Splitter(object, script).run();
}

std::vector<SqlStatement> about_database(std::vector<SqlStatement> statements, std::string_view name) {
  std::erase_if(statements,
                [&](const SqlStatement& statement) { return statement.name_after({"database"}) != name; });
  return statements;
}

SqlStatement rename_database(const SqlStatement& statement, std::string_view was, std::string_view now) {
  size_t at = statement.find_after({"database"});
  if (at >= statement.tokens.size() || statement.tokens[at].text != was) return statement;
  const SqlToken& token = statement.tokens[at];
  SqlStatement renamed = statement;
  renamed.text.replace(token.begin, token.end - token.begin, sql_identifier(now));
  const auto shift =
      static_cast<ptrdiff_t>(renamed.text.size()) - static_cast<ptrdiff_t>(statement.text.size());
  renamed.tokens[at].kind = SqlToken::Kind::quoted;
  renamed.tokens[at].text = now;
  renamed.tokens[at].end = static_cast<size_t>(static_cast<ptrdiff_t>(token.end) + shift);
  for (size_t later = at + 1; later < renamed.tokens.size(); ++later) {
    SqlToken& other = renamed.tokens[later];
    other.begin = static_cast<size_t>(static_cast<ptrdiff_t>(other.begin) + shift);
    other.end = static_cast<size_t>(static_cast<ptrdiff_t>(other.end) + shift);
  }
  return renamed;
}

SqlStatement without_tablespace(const SqlStatement& statement) {
  size_t at = statement.find_after({"tablespace"});
  // TABLESPACE = name
  if (at + 1 >= statement.tokens.size()) return statement;
  SqlStatement changed = statement;
  size_t begin = statement.tokens[at - 1].begin;
  changed.text.erase(begin, statement.tokens[at + 1].end - begin);
  auto split = split_sql("", changed.text);
  CHECK(split.has_value() && split->size() == 1);  // whole tokens were taken out of a statement
  return std::move(split->front());
}

}  // namespace lifeboat::ops
