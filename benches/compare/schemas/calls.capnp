# What capnp-rpc serves: the two calls every peer is measured with.
@0xdb9b4b036d70818c;

interface Calls {
  # The smallest useful call: what is measured is everything around it.
  add @0 (a :Int64, b :Int64) -> (sum :Int64);

  # The payload comes back as it went.
  echo @1 (payload :Data) -> (payload :Data);
}
