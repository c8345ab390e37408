// SPDX-License-Identifier: LGPL-2.1-or-later
//
// std_map.cpp - best fit over standard containers, one mutex: the baseline.
//
// A map by address and a set by (length, address) over one flat space. Claims take
// the tightest run, lowest address first, from its front. Adding merges with both
// neighbours.
//
// Invariant: the map and the set hold the same runs; runs are disjoint and never touch.
// Locks: mutex guards everything.

#include "controls.h"

#include <cerrno>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <set>
#include <utility>

namespace
{

struct StdMap {
	std::mutex mutex;
	std::map<uint64_t, uint64_t> by_address;
	std::set<std::pair<uint64_t, uint64_t>> by_length;
	uint64_t lock_taken = 0;
	uint64_t lock_contended = 0;

	void lock()
	{
		bool contended = !mutex.try_lock();
		if (contended)
			mutex.lock();
		lock_taken++;
		lock_contended += contended;
	}

	bool claim(uint64_t bytes, uint64_t *address_out)
	{
		auto tightest = by_length.lower_bound({bytes, 0});
		if (tightest == by_length.end())
			return false;
		auto [length, address] = *tightest;
		by_length.erase(tightest);
		auto run = by_address.find(address);
		if (length > bytes) {
			auto next = std::next(run);
			by_address.erase(run);
			by_address.emplace_hint(next, address + bytes, length - bytes);
			by_length.emplace(length - bytes, address + bytes);
		} else {
			by_address.erase(run);
		}
		*address_out = address;
		return true;
	}

	void add(uint64_t address, uint64_t bytes)
	{
		auto next = by_address.lower_bound(address);
		if (next != by_address.begin()) {
			auto previous = std::prev(next);
			if (previous->first + previous->second == address) {
				by_length.erase({previous->second, previous->first});
				address = previous->first;
				bytes += previous->second;
				by_address.erase(previous);
			}
		}
		if (next != by_address.end() && address + bytes == next->first) {
			by_length.erase({next->second, next->first});
			bytes += next->second;
			next = by_address.erase(next);
		}
		by_address.emplace_hint(next, address, bytes);
		by_length.emplace(bytes, address);
	}
};

void *std_map_create(const struct bench_competitor *, const struct bench_space *space)
{
	auto *state = new (std::nothrow) StdMap;
	if (state && space->all_free)
		state->add(0, space->total_bytes);
	return state;
}

void std_map_destroy(void *state)
{
	delete static_cast<StdMap *>(state);
}

int std_map_claim(void *opaque, uint64_t bytes, uint64_t *address_out)
{
	auto *state = static_cast<StdMap *>(opaque);
	state->lock();
	bool found = state->claim(bytes, address_out);
	state->mutex.unlock();
	return found ? 0 : -ENOSPC;
}

int std_map_give_back(void *opaque, uint64_t address, uint64_t bytes)
{
	auto *state = static_cast<StdMap *>(opaque);
	state->lock();
	state->add(address, bytes);
	state->mutex.unlock();
	return 0;
}

int std_map_add_free(void *opaque, size_t, uint64_t address, uint64_t bytes)
{
	return std_map_give_back(opaque, address, bytes);
}

void std_map_describe(void *opaque, struct bench_free_space *out)
{
	auto *state = static_cast<StdMap *>(opaque);
	std::memset(out, 0, sizeof(*out));
	out->free_extents = state->by_address.size();
	for (const auto &run : state->by_address)
		out->free_bytes += run.second;
	if (!state->by_length.empty())
		out->largest_run_bytes = state->by_length.rbegin()->first;
	out->counts_locks = 1;
	out->lock_taken = state->lock_taken;
	out->lock_contended = state->lock_contended;
}

} // namespace

extern const struct bench_competitor bench_std_map = {
	"std-map",
	"std::map and std::set, best fit, one mutex",
	BENCH_TRAIT_FLAT | BENCH_TRAIT_NODE_PER_EXTENT,
	1,
	nullptr,
	nullptr,
	std_map_create,
	std_map_destroy,
	std_map_claim,
	std_map_give_back,
	std_map_add_free,
	std_map_describe,
	nullptr,
};
