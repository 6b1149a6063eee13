// SPDX-License-Identifier: GPL-2.0-or-later
//
// The standard's headers that most files include, parsed once. Each file includes what it needs all the same: -Db_pch=false builds, too.
#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>
