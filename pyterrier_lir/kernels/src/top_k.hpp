// The best of many scores.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace lir {

// Places of the k best scores, best first, ties by place; minus infinity is no score.
inline std::vector<std::int64_t> top_k(const float* scores, std::int64_t size, std::int64_t k) {
    std::vector<std::pair<float, std::int64_t>> found;  // minus the score, the place
    found.reserve(std::size_t(size));
    for (std::int64_t i = 0; i < size; ++i)
        if (scores[i] > -std::numeric_limits<float>::infinity()) found.emplace_back(-scores[i], i);
    const auto last = found.begin() + std::ptrdiff_t(std::min<std::int64_t>(k, std::int64_t(found.size())));
    if (last != found.end()) std::nth_element(found.begin(), last, found.end());
    std::sort(found.begin(), last);
    std::vector<std::int64_t> best;
    for (auto one = found.begin(); one != last; ++one) best.push_back(one->second);
    return best;
}

}  // namespace lir
