// Parts of mapped files, asked for before they are read where they are not in memory.
//
// Otherwise every part waits for the disk by itself, and the system reads what lies around it as well: megabytes, where
// it is set to.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace lir {

class Ahead {
   public:
    // The elements first .. end - 1 of an array.
    template <typename T>
    void add(const T* values, std::int64_t first, std::int64_t end) {
        if (values != nullptr && first < end)
            parts_.emplace_back(reinterpret_cast<std::uintptr_t>(values + first), std::size_t(end - first) * sizeof(T));
    }

    // Where all of a sample is in memory, so is most of it, and nothing is asked: that costs a microsecond for each
    // part. Does nothing but on Linux.
    void ask() const {
#if defined(__linux__)
        if (!misses_some()) return;
        for (const auto& [begin, bytes] : parts_) {
            const std::uintptr_t page = begin / page_size() * page_size();
            madvise(reinterpret_cast<void*>(page), begin + bytes - page, MADV_WILLNEED);  // failing, it changes nothing
        }
#endif
    }

   private:
#if defined(__linux__)
    static std::uintptr_t page_size() {
        static const auto size = std::uintptr_t(sysconf(_SC_PAGESIZE));
        return size;
    }

    // Whether the system says so of one of 16 parts. Of a file that this process may not write it does not tell.
    bool misses_some() const {
        for (std::size_t k = 0; k < parts_.size(); k += std::max<std::size_t>(parts_.size() / 16, 1)) {
            unsigned char there = 1;
            const std::uintptr_t page = parts_[k].first / page_size() * page_size();
            if (mincore(reinterpret_cast<void*>(page), 1, &there) == 0 && (there & 1) == 0) return true;
        }
        return false;
    }
#endif

    std::vector<std::pair<std::uintptr_t, std::size_t>> parts_;
};

}  // namespace lir
