// PostgreSQL's texts in JSON. They are bytes in the server's encoding, JSON wants UTF-8: labels and names
// that are not UTF-8 are written as hex behind a prefix that no PostgreSQL text can begin with.
#pragma once

#include <string>

namespace lifeboat::repo {

std::string pack_text(const std::string& text);
std::string unpack_text(const std::string& text);

}  // namespace lifeboat::repo
