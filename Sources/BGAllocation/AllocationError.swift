//===-- AllocationError.swift - why a call on the allocator was refused --------------------------===//
// Small and trivial: failing neither allocates nor hides cases. The one place where a code becomes
// an errno, and an errno a code, is here.

internal import CShim

/// Why a call on an allocator or a block group was refused. A refused call changes nothing.
public struct AllocationError: Error, Equatable, Sendable {
    public enum Code: Equatable, Sendable {
        /// No free run serves the request (ENOSPC).
        case noSpace
        /// An argument is unaligned, empty, out of range, or says more than was claimed (EINVAL).
        case invalidArgument
        /// Some of the range is free already, or a group overlaps another (EEXIST).
        case exists
        /// Some of the range is not free, or no group begins there (ENOENT).
        case notFound
        /// Claims are out (EBUSY).
        case busy
        /// The group is read-only (EROFS).
        case readOnly
        /// A device failed while a group's free space was read (EIO).
        case io
        /// The file system is damaged (EUCLEAN).
        case corrupt
        /// A group could not be made (ENOMEM).
        case noMemory
        /// What a hook returned, as a positive errno.
        case system(CInt)
    }

    public let code: Code

    public init(_ code: Code) {
        self.code = code
    }

    /// - Parameter result: a negative errno.
    package init(result: CInt) {
        switch -result {
        case bgs_enospc: code = .noSpace
        case bgs_einval: code = .invalidArgument
        case bgs_eexist: code = .exists
        case bgs_enoent: code = .notFound
        case bgs_ebusy: code = .busy
        case bgs_erofs: code = .readOnly
        case bgs_eio: code = .io
        case bgs_euclean: code = .corrupt
        case bgs_enomem: code = .noMemory
        default: code = .system(-result)
        }
    }

    /// The error as a positive errno.
    public var errno: CInt {
        switch code {
        case .noSpace: bgs_enospc
        case .invalidArgument: bgs_einval
        case .exists: bgs_eexist
        case .notFound: bgs_enoent
        case .busy: bgs_ebusy
        case .readOnly: bgs_erofs
        case .io: bgs_eio
        case .corrupt: bgs_euclean
        case .noMemory: bgs_enomem
        case .system(let number): number
        }
    }

    /// The error in a few words.
    public var text: StaticString {
        switch code {
        case .noSpace: "no free run serves the request"
        case .invalidArgument: "invalid argument"
        case .exists: "some of the range is free already"
        case .notFound: "some of the range is not free"
        case .busy: "claims are out"
        case .readOnly: "read-only"
        case .io: "input/output error"
        case .corrupt: "damaged file system"
        case .noMemory: "out of memory"
        case .system: "a hook failed"
        }
    }
}
