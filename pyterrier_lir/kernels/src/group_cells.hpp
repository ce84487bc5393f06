// The best centroids of each query row among those of some groups only, where scoring all of them would take too long.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "cells.hpp"
#include "centroid_scores.hpp"
#include "dot.hpp"
#include "memory.hpp"
#include "parallel.hpp"

namespace lir {

// A query as bytes.
struct QueryRows {
    const std::int8_t* values;
    const float* scale;
    int rows, dim;
};

// Centroids as bytes, sorted by group: group g has those from offsets[g] to offsets[g + 1].
struct CentroidGroups {
    const std::uint8_t* bytes;
    const float* scale;
    std::int64_t num_centroids;
    const std::int64_t* offsets;
    std::int64_t num_groups;

    void check(std::int32_t group) const {
        using std::to_string;
        if (group < 0 || group >= num_groups)
            throw std::invalid_argument("groups contains " + to_string(group) + ", but there are " +
                                        to_string(num_groups) + " groups; are they from another index?");
        if (offsets[group] < 0 || offsets[group] > offsets[group + 1] || offsets[group + 1] > num_centroids)
            throw std::invalid_argument("group_offsets gives group " + to_string(group) + " the centroids " +
                                        to_string(offsets[group]) + " to " + to_string(offsets[group + 1]) +
                                        ", but there are " + to_string(num_centroids) + "; is the file cut off?");
    }
};

// Scores a group's centroids for the rows that want it.
class GroupScorer {
   public:
    GroupScorer(const QueryRows& query, const CentroidGroups& groups) : query_(query), groups_(groups) {}

    // Appends the keys of the group's centroids to what was found for each member, which is the number of a row.
    void score(std::int32_t group, const std::vector<int>& members,
               std::vector<std::vector<std::uint64_t>>& found) const {
        const int rows = int(members.size()), columns = (rows + 15) / 16 * 16;
        std::vector<std::int8_t> values(std::size_t(rows) * query_.dim);
        std::vector<float> scale(static_cast<std::size_t>(rows));
        for (int r = 0; r < rows; ++r) {
            const std::int8_t* row = query_.values + std::int64_t(members[std::size_t(r)]) * query_.dim;
            std::copy(row, row + query_.dim, values.begin() + std::int64_t(r) * query_.dim);
            scale[std::size_t(r)] = query_.scale[members[std::size_t(r)]];
        }
        const std::int64_t first = groups_.offsets[group], count = groups_.offsets[group + 1] - first;
        std::vector<float> scores(std::size_t(count * columns));
        centroid_scores(values.data(), scale.data(), rows, query_.dim, columns,
                        reinterpret_cast<const std::int8_t*>(groups_.bytes) + first * query_.dim,
                        groups_.scale + first, count, 1, scores.data());
        for (int r = 0; r < rows; ++r) {
            std::vector<std::uint64_t>& keys = found[std::size_t(members[std::size_t(r)])];
            for (std::int64_t c = 0; c < count; ++c)
                keys.push_back(cell_key(scores[std::size_t(c * columns + r)], std::int32_t(first + c)));
        }
    }

   private:
    const QueryRows& query_;
    const CentroidGroups& groups_;
};

// cells[i * p ..], scores[i * p ..]: the p best centroids of row i in its groups chosen[i * per_row ..], best first, ties
// by number. Throws where they hold fewer than p.
inline void top_cells_in_groups(const QueryRows& query, const CentroidGroups& groups, const std::int32_t* chosen,
                                int per_row, int p, std::int32_t* cells, float* scores) {
    std::vector<std::vector<int>> members(static_cast<std::size_t>(groups.num_groups));
    for (int k = 0; k < query.rows * per_row; ++k) {
        groups.check(chosen[k]);
        members[std::size_t(chosen[k])].push_back(k / per_row);
    }
    std::vector<std::vector<std::uint64_t>> found(static_cast<std::size_t>(query.rows));
    const GroupScorer scorer(query, groups);
    for (std::int32_t g = 0; g < groups.num_groups; ++g)
        if (!members[std::size_t(g)].empty()) scorer.score(g, members[std::size_t(g)], found);
    for (int i = 0; i < query.rows; ++i) {
        std::vector<std::uint64_t>& row = found[std::size_t(i)];
        if (std::int64_t(row.size()) < p)
            throw std::invalid_argument("the groups of row " + std::to_string(i) + " hold " +
                                        std::to_string(row.size()) + " centroids, but p is " + std::to_string(p) +
                                        "; choose more groups");
        std::nth_element(row.begin(), row.begin() + (p - 1), row.end());
        std::sort(row.begin(), row.begin() + p);
        for (int k = 0; k < p; ++k) {
            cells[std::int64_t(i) * p + k] = cell_of_key(row[std::size_t(k)]);
            scores[std::int64_t(i) * p + k] = score_of_key(row[std::size_t(k)]);
        }
    }
}

}  // namespace lir
