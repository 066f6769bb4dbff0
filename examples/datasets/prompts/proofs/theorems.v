(* Small theorems with proofs, for examples/datasets/proofs.py. `coqc` checks this file. *)

Theorem identity : forall A : Prop, A -> A.
Proof. intros A a. exact a. Qed.

Theorem const : forall A B : Prop, A -> B -> A.
Proof. intros A B a b. exact a. Qed.

Theorem compose : forall A B C : Prop, (A -> B) -> (B -> C) -> A -> C.
Proof. intros A B C f g a. apply g. apply f. exact a. Qed.

Theorem apply_twice : forall A : Prop, (A -> A) -> A -> A.
Proof. intros A f a. apply f. apply f. exact a. Qed.

Theorem swap_arguments : forall A B C : Prop, (A -> B -> C) -> B -> A -> C.
Proof. intros A B C f b a. apply f. exact a. exact b. Qed.

Theorem and_swap : forall A B : Prop, A /\ B -> B /\ A.
Proof. intros A B H. destruct H as [a b]. split. exact b. exact a. Qed.

Theorem and_right : forall A B : Prop, A /\ B -> B.
Proof. intros A B H. destruct H as [a b]. exact b. Qed.

Theorem and_regroup : forall A B C : Prop, A /\ (B /\ C) -> (A /\ B) /\ C.
Proof. intros A B C H. destruct H as [a H]. destruct H as [b c]. split. split. exact a. exact b. exact c. Qed.

Theorem and_twice : forall A : Prop, A -> A /\ A.
Proof. intros A a. split. exact a. exact a. Qed.

Theorem or_second : forall A B : Prop, B -> A \/ B.
Proof. intros A B b. right. exact b. Qed.

Theorem or_swap : forall A B : Prop, A \/ B -> B \/ A.
Proof. intros A B H. destruct H as [a | b]. right. exact a. left. exact b. Qed.

Theorem or_regroup : forall A B C : Prop, A \/ (B \/ C) -> (A \/ B) \/ C.
Proof. intros A B C H. destruct H as [a | H]. left. left. exact a. destruct H as [b | c]. left. right. exact b. right. exact c. Qed.

Theorem or_same : forall A : Prop, A \/ A -> A.
Proof. intros A H. destruct H as [a | b]. exact a. exact b. Qed.

Theorem or_map : forall A B C : Prop, (A -> B) -> A \/ C -> B \/ C.
Proof. intros A B C f H. destruct H as [a | c]. left. apply f. exact a. right. exact c. Qed.

Theorem and_over_or : forall A B C : Prop, A /\ (B \/ C) -> (A /\ B) \/ (A /\ C).
Proof. intros A B C H. destruct H as [a H]. destruct H as [b | c]. left. split. exact a. exact b. right. split. exact a. exact c. Qed.

Theorem or_over_and : forall A B C : Prop, A \/ (B /\ C) -> (A \/ B) /\ (A \/ C).
Proof. intros A B C H. destruct H as [a | H]. split. left. exact a. left. exact a. destruct H as [b c]. split. right. exact b. right. exact c. Qed.

Theorem uncurry : forall A B C : Prop, (A -> B -> C) -> A /\ B -> C.
Proof. intros A B C f H. destruct H as [a b]. apply f. exact a. exact b. Qed.

Theorem curry : forall A B C : Prop, (A /\ B -> C) -> A -> B -> C.
Proof. intros A B C f a b. apply f. split. exact a. exact b. Qed.

Theorem or_elimination : forall A B C : Prop, (A -> C) -> (B -> C) -> A \/ B -> C.
Proof. intros A B C f g H. destruct H as [a | b]. apply f. exact a. apply g. exact b. Qed.

Theorem from_false : forall A : Prop, False -> A.
Proof. intros A H. destruct H. Qed.

Theorem contradiction : forall A B : Prop, A -> ~ A -> B.
Proof. intros A B a n. destruct n. exact a. Qed.

Theorem double_negation : forall A : Prop, A -> ~ ~ A.
Proof. intros A a n. apply n. exact a. Qed.

Theorem contraposition : forall A B : Prop, (A -> B) -> ~ B -> ~ A.
Proof. intros A B f n a. apply n. apply f. exact a. Qed.

Theorem not_or_left : forall A B : Prop, ~ (A \/ B) -> ~ A.
Proof. intros A B n a. apply n. left. exact a. Qed.

Theorem de_morgan : forall A B : Prop, ~ A /\ ~ B -> ~ (A \/ B).
Proof. intros A B H p. destruct H as [na nb]. destruct p as [a | b]. apply na. exact a. apply nb. exact b. Qed.

Theorem triple_negation : forall A : Prop, ~ ~ ~ A -> ~ A.
Proof. intros A n a. apply n. intros m. apply m. exact a. Qed.

Theorem not_both : forall A : Prop, ~ (A /\ ~ A).
Proof. intros A H. destruct H as [a n]. apply n. exact a. Qed.

Theorem iff_self : forall A : Prop, A <-> A.
Proof. intros A. split. intros a. exact a. intros a. exact a. Qed.

Theorem iff_swap : forall A B : Prop, (A <-> B) -> (B <-> A).
Proof. intros A B H. destruct H as [f g]. split. exact g. exact f. Qed.

Theorem iff_chain : forall A B C : Prop, (A <-> B) -> (B <-> C) -> (A -> C).
Proof. intros A B C H K a. apply K. apply H. exact a. Qed.

Theorem all_and : forall (T : Type) (P Q : T -> Prop), (forall x, P x /\ Q x) -> forall x, P x.
Proof. intros T P Q H x. apply H. Qed.

Theorem all_to_one : forall (P : nat -> Prop), (forall n, P n) -> P 7.
Proof. intros P H. apply H. Qed.

Theorem some_square : exists n : nat, n * n = 49.
Proof. exists 7. reflexivity. Qed.

Theorem some_or : forall P Q : nat -> Prop, (exists n, P n) -> exists n, P n \/ Q n.
Proof. intros P Q H. destruct H as [n p]. exists n. left. exact p. Qed.

Theorem none_is_not : forall P : nat -> Prop, ~ (exists n, P n) -> forall n, ~ P n.
Proof. intros P H n p. apply H. exists n. exact p. Qed.

Theorem equal_swap : forall a b : nat, a = b -> b = a.
Proof. intros a b H. rewrite H. reflexivity. Qed.

Theorem equal_chain : forall a b c : nat, a = b -> b = c -> a = c.
Proof. intros a b c H K. rewrite H. exact K. Qed.

Theorem equal_under : forall (f : nat -> nat) (a b : nat), a = b -> f a = f b.
Proof. intros f a b H. rewrite H. reflexivity. Qed.

Theorem two_and_two : 2 + 2 = 4.
Proof. reflexivity. Qed.

Theorem zero_plus : forall n : nat, 0 + n = n.
Proof. intros n. reflexivity. Qed.

Theorem plus_zero : forall n : nat, n + 0 = n.
Proof. intros n. induction n as [| n H]. reflexivity. simpl. rewrite H. reflexivity. Qed.

Theorem plus_successor : forall n m : nat, n + S m = S (n + m).
Proof. intros n m. induction n as [| n H]. reflexivity. simpl. rewrite H. reflexivity. Qed.

Theorem plus_regroup : forall a b c : nat, a + (b + c) = (a + b) + c.
Proof. intros a b c. induction a as [| a H]. reflexivity. simpl. rewrite H. reflexivity. Qed.

Theorem times_zero : forall n : nat, n * 0 = 0.
Proof. intros n. induction n as [| n H]. reflexivity. simpl. exact H. Qed.

Theorem successor_differs : forall n : nat, 0 <> S n.
Proof. intros n H. discriminate H. Qed.

Theorem successor_once : forall n m : nat, S n = S m -> n = m.
Proof. intros n m H. injection H as K. exact K. Qed.

Theorem not_twice : forall b : bool, negb (negb b) = b.
Proof. intros b. destruct b. reflexivity. reflexivity. Qed.

Theorem and_false : forall b : bool, andb b false = false.
Proof. intros b. destruct b. reflexivity. reflexivity. Qed.
