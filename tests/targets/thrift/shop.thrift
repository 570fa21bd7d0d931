namespace go main
namespace py shop

exception NotFound { 1: string what }

struct Item {
  1: string name,
  2: i64 price,
  3: list<string> tags,
  4: map<string, i32> stock,
  5: list<double> weights,
  6: bool sold,
}

service Shop {
  Item price(1: string name, 2: i32 count) throws (1: NotFound missing),
  void ping(),
  oneway void note(1: string text),
  list<Item> many(1: i32 count, 2: string filler),
}

service Newer extends Shop {
  void absent(),
}
