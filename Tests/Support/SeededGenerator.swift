// Random numbers that come again for the same seed.

import Foundation

/// Numbers that come again for the same seed (splitmix64).
package struct SeededGenerator: RandomNumberGenerator {
    package var state: UInt64

    package init(state: UInt64) { self.state = state }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// From BG_SEED, or a new one; printed, so that a failure can be played again.
    package static func printed(_ name: String) -> SeededGenerator {
        let seed = environmentNumber("BG_SEED") ?? UInt64.random(in: 1...999_999)
        print("\(name): BG_SEED=\(seed)")
        return SeededGenerator(state: seed)
    }
}

/// One seed for a whole run: BG_SEED, or a new one.
package let testSeed = environmentNumber("BG_SEED") ?? UInt64.random(in: 0...UInt64.max)

/// How many times as much random work as usual is asked for: BG_TEST_SCALE, or 1.
package let testScale = Int(environmentNumber("BG_TEST_SCALE") ?? 1)

private func environmentNumber(_ name: String) -> UInt64? {
    ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
}
