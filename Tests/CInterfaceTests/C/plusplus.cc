/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plusplus.cc - a C++17 program that knows the library by its header alone:
 * claims as values that give themselves back, from several threads; and before main(),
 * when a library that is linked in statically has run none of its own constructors yet.
 *
 * Prints one line; exits 1 at the first thing that is not as the header says.
 */
#include <blockgroups.h>

#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "check.h"

namespace
{

constexpr uint64_t group_length = uint64_t(64) << 20;

struct destroy {
	void operator()(bg_allocator *allocator) const
	{
		bg_allocator_destroy(allocator);
	}
};
using allocator_ptr = std::unique_ptr<bg_allocator, destroy>;

/* A claimed range, given back when it goes out of scope. */
class claim
{
      public:
	claim(bg_allocator *allocator, uint64_t length) : allocator_(allocator)
	{
		bg_claim_options options{};
		options.size = sizeof(options);
		options.flags = BG_DATA;
		options.length = length;
		EXPECT(bg_claim(allocator, &options, &extent_), 0);
	}
	claim(claim &&other) noexcept
	    : allocator_(std::exchange(other.allocator_, nullptr)), extent_(other.extent_)
	{
	}
	claim(const claim &) = delete;
	claim &operator=(const claim &) = delete;
	claim &operator=(claim &&) = delete;
	~claim()
	{
		if (allocator_)
			EXPECT(bg_give_back(allocator_, &extent_), 0);
	}
	uint64_t logical() const
	{
		return extent_.logical;
	}

      private:
	bg_allocator *allocator_;
	bg_extent extent_{};
};

/* What a program's own static objects may do. */
struct before_main {
	before_main()
	{
		bg_allocator *raw = nullptr;
		EXPECT(bg_allocator_create(nullptr, &raw), 0);
		allocator_ptr allocator(raw);
		EXPECT(bg_allocator_add_group(raw, 0, group_length, BG_DATA), 0);
		bg_group *group = bg_group_get(raw, 0);
		EXPECT(bg_group_add_free_space(group, 0, group_length), 0);
		bg_group_put(group);
		claim first(raw, 65536);
		EXPECT(first.logical(), 0);
	}
};
const before_main early;

} // namespace

int main()
{
	bg_allocator *raw = nullptr;
	EXPECT(bg_allocator_create(nullptr, &raw), 0);
	allocator_ptr allocator(raw);
	EXPECT(bg_allocator_add_group(raw, 0, group_length, BG_DATA), 0);
	bg_group *group = bg_group_get(raw, 0);
	EXPECT(bg_group_add_free_space(group, 0, group_length), 0);

	std::mutex mutex;
	{
		std::vector<claim> kept;
		std::vector<std::thread> threads;
		for (int index = 0; index < 4; index++)
			threads.emplace_back([&] {
				for (int count = 0; count < 250; count++) {
					claim mine(raw, 65536);
					std::lock_guard<std::mutex> guard(mutex);
					kept.push_back(std::move(mine));
				}
			});
		for (auto &thread : threads)
			thread.join();
		std::set<uint64_t> addresses;
		for (auto &one : kept)
			addresses.insert(one.logical());
		EXPECT(addresses.size(), 1000);
		uint64_t end = 0;
		for (uint64_t logical : addresses) {
			CHECK(logical >= end);
			end = logical + 65536;
		}
	}
	struct bg_group_stat stat {
	};
	EXPECT(bg_group_stat(group, &stat), 0);
	EXPECT(stat.claimed_bytes, 0);
	EXPECT(stat.free_bytes, group_length);
	bg_group_put(group);
	std::printf("plusplus: ok, 1000 claims from 4 threads\n");
	return 0;
}
