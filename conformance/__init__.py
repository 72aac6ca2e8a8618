"""The conformance kit: does a server keep the contract, and does a till's program use it rightly?

It speaks HTTP and imports nothing of the product, so it grades any server of this contract. `grading` asks a server,
`watch` listens to a till.
"""
