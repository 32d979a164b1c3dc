// How a kernel runs in parallel without knowing whose threads it runs on.
#ifndef KDET_COMMON_PARALLEL_H_
#define KDET_COMMON_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>

namespace kdet {

// Runs task(0), ..., task(count - 1), each once, on up to `threads` threads, and returns when all are done.
struct ParallelFor {
  int threads;
  std::function<void(int64_t count, const std::function<void(int64_t)>& task)> run;

  // The same with so few threads at work that what each of them keeps, `each` bytes, is `all_bytes` together at most;
  // but with two at least.
  ParallelFor within(int64_t all_bytes, int64_t each) const {
    const int64_t most = std::max<int64_t>(all_bytes / std::max<int64_t>(each, 1), 2);
    if (most >= threads) return *this;
    const int fewer = int(most);
    return {fewer, [all = run, fewer](int64_t count, const std::function<void(int64_t)>& task) {
              std::atomic<int64_t> next{0};
              all(std::min<int64_t>(fewer, count), [&](int64_t) {
                for (int64_t i; (i = next++) < count;) task(i);
              });
            }};
  }

  // Splits [0, total) into about four blocks per thread, of at least `least` units.
  void blocks(int64_t total, int64_t least, const std::function<void(int64_t, int64_t)>& work) const {
    if (total <= 0) return;
    const int64_t even = (total + 4 * threads - 1) / (4 * threads);
    const int64_t size = std::max<int64_t>(std::max<int64_t>(even, least), 1);
    run((total + size - 1) / size,
        [&](int64_t i) { work(i * size, std::min(total, (i + 1) * size)); });
  }

  // Splits channels into at most `per_thread` ranges per thread, each a multiple of `unit` wide except for the
  // last. Threads that own channels never write the same number, so scattering needs no atomics and is
  // deterministic.
  void channels(int64_t total, int64_t unit, int per_thread, const std::function<void(int64_t, int64_t)>& work) const {
    if (total <= 0) return;
    const int64_t width = range_width(total, unit, per_thread);
    run((total + width - 1) / width, [&](int64_t i) { work(i * width, std::min(total, (i + 1) * width)); });
  }
  int64_t range_width(int64_t total, int64_t unit, int per_thread) const {
    const int64_t units = (total + unit - 1) / unit, most = int64_t{threads} * per_thread;
    return (units + most - 1) / most * unit;
  }
};

inline ParallelFor serial() {
  return {1, [](int64_t count, const std::function<void(int64_t)>& task) {
            for (int64_t i = 0; i < count; ++i) task(i);
          }};
}

}  // namespace kdet

#endif  // KDET_COMMON_PARALLEL_H_
