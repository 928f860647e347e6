// SQL scripts as pg_dump and pg_dumpall write them, cut into statements and words.
//
// Roles and databases that are there already must not be overwritten, and a database may be restored under
// another name: both need to know what a statement is about, without being misled by what stands in its
// literals. Strings, quoted identifiers, dollar quotes and comments are recognised as
// doc/src/sgml/syntax.sgml describes them with standard_conforming_strings on, which both programs set.
// psql's own lines (\connect, \restrict) are left out. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "util/result.h"

namespace lifeboat::ops {

struct SqlToken {
  enum class Kind : uint8_t {
    word,     // an unquoted name or keyword, in lower case
    quoted,   // a quoted identifier, without its quotes
    literal,  // a string or a dollar quote, as written
    symbol,   // one character
  };
  Kind kind = Kind::symbol;
  std::string text;
  size_t begin = 0;  // in the statement
  size_t end = 0;
  bool is_word(std::string_view word) const { return kind == Kind::word && text == word; }
  bool is_name() const { return kind == Kind::word || kind == Kind::quoted; }
};

struct SqlStatement {
  std::string text;  // without the semicolon
  std::vector<SqlToken> tokens;

  // Begins with these words.
  bool begins(std::initializer_list<std::string_view> words) const;
  // The name behind the first place where these words follow each other; "" when there is none.
  std::string name_after(std::initializer_list<std::string_view> words) const;
  // That place's token number; tokens.size() when there is none.
  size_t find_after(std::initializer_list<std::string_view> words) const;
};

// Errors: damaged (a string or comment that does not end).
Result<std::vector<SqlStatement>> split_sql(std::string_view object, std::string_view script);

// The statements about the database itself: CREATE DATABASE, its owner, settings, comment, privileges.
std::vector<SqlStatement> about_database(std::vector<SqlStatement> statements, std::string_view name);
// The same about the database `now`.
SqlStatement rename_database(const SqlStatement& statement, std::string_view was, std::string_view now);
// CREATE DATABASE without its TABLESPACE clause.
SqlStatement without_tablespace(const SqlStatement& statement);

}  // namespace lifeboat::ops
