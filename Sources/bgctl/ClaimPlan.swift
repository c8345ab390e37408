//===-- ClaimPlan.swift - what the threads of bgctl claim shall do, and what they did -------------===//

import BlockGroups

/// What the threads shall do.
struct ClaimPlan: Sendable {
    enum Hint: Equatable, Sendable {
        case none
        /// The end of the thread's last claim.
        case last
        case address(UInt64)
    }

    var threads = 4
    /// Claims to try, all threads together.
    var count = 100_000
    var sizes = SizeRange(least: 4096, most: 1 << 20)
    var flags: BlockGroupFlags = .data
    var giveBackPercent = 50
    var alignment: UInt64 = 0
    /// 0: all or nothing.
    var lengthMin: UInt64 = 0
    var hint = Hint.none
    var seed: UInt64 = 0
}

/// What one thread did.
struct ClaimTally {
    var claims: UInt64 = 0
    var claimedBytes: UInt64 = 0
    var misses: UInt64 = 0
    var givenBack: UInt64 = 0
    var claimsOfGroup: [UInt64]
    var bytesOfGroup: [UInt64]

    init(groups: Int) {
        claimsOfGroup = [UInt64](repeating: 0, count: groups)
        bytesOfGroup = claimsOfGroup
    }

    mutating func add(_ other: ClaimTally) {
        claims += other.claims
        claimedBytes += other.claimedBytes
        misses += other.misses
        givenBack += other.givenBack
        for index in claimsOfGroup.indices {
            claimsOfGroup[index] += other.claimsOfGroup[index]
            bytesOfGroup[index] += other.bytesOfGroup[index]
        }
    }
}
