// Takes the refreshes of materialized views out of a plain dump on its way to psql, so that they can be run
// one by one.
//
// pg_dump announces each with a comment ("-- Name: …; Type: MATERIALIZED VIEW DATA; …"). Rows of tables,
// which may hold the same words, lie between COPY … FROM stdin; and \\. and are passed on as they are. What
// is not recognised is passed on: psql runs it then.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lifeboat::ops {

class RefreshFilter {
 public:
  // What may go to psql now. Holds back the beginning of a line that is not complete, if it is short.
  std::string pass(std::string_view piece);
  // What was held back, at the end.
  std::string rest();
  const std::vector<std::string>& taken() const { return taken_; }

 private:
  void take_line(std::string& passed);

  std::string line_;  // what came of the line so far, with its line feed when that has come
  bool long_line_ = false;
  bool in_rows_ = false;
  bool announced_ = false;
  std::vector<std::string> taken_;
};

}  // namespace lifeboat::ops
