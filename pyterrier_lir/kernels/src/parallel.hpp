// Work on pieces of a range in several threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace lir {

// Calls work(worker, piece) once for every piece; worker < num_threads names the calling thread, so that it can
// have its own memory. What work throws ends the work and is thrown here.
template <typename Work>
void parallel_for(int num_threads, std::int64_t pieces, const Work& work) {
    std::atomic<std::int64_t> next{0};
    std::exception_ptr thrown;
    std::mutex throwing;
    const auto run = [&](int worker) {
        try {
            for (std::int64_t piece; (piece = next.fetch_add(1)) < pieces;) work(worker, piece);
        } catch (...) {
            next = pieces;
            const std::lock_guard<std::mutex> lock(throwing);
            thrown = std::current_exception();
        }
    };
    std::vector<std::thread> threads;
    try {
        threads.reserve(static_cast<std::size_t>(num_threads));
        for (int worker = 1; worker < num_threads; ++worker) threads.emplace_back(run, worker);
    } catch (const std::exception&) {
        // The system gives no more threads: those that run share the work.
    }
    run(0);
    for (auto& thread : threads) thread.join();
    if (thrown) std::rethrow_exception(thrown);
}

}  // namespace lir
