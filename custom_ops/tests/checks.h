// Buffers, random inputs and comparisons for the check of the CPU kernels.
#ifndef KDET_TESTS_CHECKS_H_
#define KDET_TESTS_CHECKS_H_

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <thread>
#include <type_traits>

#include "common/floats.h"
#include "common/parallel.h"

namespace kdet {
namespace checks {

inline std::mt19937 generator(0);
inline int failures = 0;

inline ParallelFor threads(int count) {
  return {count, [count](int64_t tasks, const std::function<void(int64_t)>& task) {
            std::vector<std::thread> pool;
            for (int k = 0; k < count; ++k) {
              pool.emplace_back([&, k] {
                for (int64_t i = k; i < tasks; i += count) task(i);
              });
            }
            for (auto& thread : pool) thread.join();
          }};
}

// A buffer of exactly n numbers, so that AddressSanitizer sees one step past its end.
template <typename T>
struct Buffer {
  std::unique_ptr<T[]> at;
  int64_t n;
  explicit Buffer(int64_t n_) : at(new T[n_]()), n(n_) {}
  T* get() const { return at.get(); }
};

// An output that is to be written in full: it holds NaN.
template <typename T>
Buffer<T> unwritten(int64_t n) {
  Buffer<T> buffer(n);
  std::memset(buffer.get(), 0xff, n * sizeof(T));
  return buffer;
}

template <typename T>
Buffer<T> random_buffer(int64_t n, float low, float high) {
  Buffer<T> buffer(n);
  std::uniform_real_distribution<float> numbers(low, high);
  for (int64_t i = 0; i < n; ++i) from_float(numbers(generator), buffer.get() + i);
  return buffer;
}

inline Buffer<int> random_ints(int64_t n, int low, int high) {
  Buffer<int> buffer(n);
  for (int64_t i = 0; i < n; ++i) buffer.get()[i] = std::uniform_int_distribution<int>(low, high)(generator);
  return buffer;
}

template <typename T>
double inner(const Buffer<T>& a, const Buffer<T>& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.n; ++i) sum += double(to_float(a.at[i])) * to_float(b.at[i]);
  return sum;
}

template <typename T>
void same(const char* name, const Buffer<T>& a, const Buffer<T>& b, float tolerance) {
  for (int64_t i = 0; i < a.n; ++i) {
    const float x = to_float(a.at[i]), y = to_float(b.at[i]);
    if (!(std::abs(x - y) <= tolerance)) {
      std::printf("FAILED %s: one thread %g, four threads %g at %ld\n", name, x, y, long(i));
      ++failures;
      return;
    }
  }
}

// How far `inner` lies from that of numbers that were not rounded to T, with few exceptions: of so many terms the sum can
// be small and what rounding does to it is not.
template <typename T>
double rounding_of_inner(const Buffer<T>& a, const Buffer<T>& b) {
  const double unit = std::is_same<T, float>::value ? 0x1p-24 : std::is_same<T, Half>::value ? 0x1p-11 : 0x1p-8;
  double squares = 0;
  for (int64_t i = 0; i < a.n; ++i) squares += std::pow(double(to_float(a.at[i])) * to_float(b.at[i]), 2);
  return 2 * unit * std::sqrt(squares);
}

// An op that is linear in x has <upstream, op(x)> = <gradient of x, x>.
inline void adjoint(const char* name, double forward, double backward, double tolerance, double rounding = 0) {
  if (!(std::abs(forward - backward) <= tolerance * (1 + std::abs(forward)) + rounding)) {
    std::printf("FAILED %s: <upstream, out> = %g, <gradient, x> = %g\n", name, forward, backward);
    ++failures;
  }
}

template <typename T>
Buffer<float> floats(const Buffer<T>& from) {
  Buffer<float> to(from.n);
  for (int64_t i = 0; i < from.n; ++i) to.get()[i] = to_float(from.at[i]);
  return to;
}

inline Buffer<float> random_boxes(int64_t n, float size) {
  Buffer<float> boxes = random_buffer<float>(n * 4, -0.2f * size, size);
  for (int64_t i = 0; i < n; ++i) {
    for (int k = 2; k < 4; ++k) boxes.get()[4 * i + k] = boxes.at[4 * i + k - 2] + std::abs(boxes.at[4 * i + k]);
  }
  const float odd[] = {5, 5, 5, 5, -1e7f, -1e7f, 1e7f, 1e7f, 9, 9, 3, 3, 1e8f, 1e8f, 2e8f, 2e8f};
  std::copy(odd, odd + std::min<int64_t>(16, n * 4), boxes.get());
  return boxes;
}

}  // namespace checks
}  // namespace kdet

#endif  // KDET_TESTS_CHECKS_H_
