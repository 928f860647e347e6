#include <string_view>
#include <vector>

#include "app/run.h"

extern char** environ;

int main(int argc, char** argv) {
  std::vector<std::string_view> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  std::vector<std::string_view> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  return lifeboat::app::run(arguments, environment);
}
