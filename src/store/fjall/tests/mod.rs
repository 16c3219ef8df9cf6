//! The engine under the contract, kill -9, damage, and a full disk.

mod crash; //      killed while it is made, and while it commits
mod damage; //     journals, tables, rows and watermarks that are not what was written
mod full_disk; //  no space left, and the reserve before that
mod load; //       more than it can take, and a database that stopped taking writes
mod store; //      a store in a directory of its own, and the contract on it
